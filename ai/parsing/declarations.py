"""Finds the encoding that a document declares, as the HTML and XML standards specify."""

from __future__ import annotations

import re

from ai.parsing.encodings import lookup

# The standard's limit for the first scan. Parsers find a later declaration when they reach its element.
FIRST_BYTES = 1024
_MOST_BYTES = 64 * 1024

_META = re.compile(rb"<meta(?=[\t\n\f\r /])", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-z][^\t\n\f\r >]*", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*)"
    rb"(?:[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[^\t\n\f\r >]*)))?"
)
# Comments, and elements that contain only text.
_NO_TAGS = re.compile(
    rb"<!--(?:-?>|.*?(?:-->|\Z))"
    rb"|<(script|style|title|textarea|xmp|iframe|noembed|noframes)(?=[\t\n\f\r />]).*?(?:</\1|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_END_OF_TAG = re.compile(rb"[\t\n\f\r /]*>")
_CHARSET = re.compile(rb"charset[\t\n\f\r ]*=[\t\n\f\r ]*(?:\"([^\"]*)\"|'([^']*)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*))")
_XML = re.compile(rb"<\?xml[\t\n\f\r ][^>]*?encoding[\x00-\x20]*=[\x00-\x20]*(?:\"([^\">]*)\"|'([^'>]*)')[^>]*>")
_UTF_16_XML = {b"<\0?\0x\0": "utf-16le", b"\0<\0?\0x": "utf-16be"}


def find_in_html(head: bytes) -> str | None:
    """The encoding of the first `<meta>` that declares one; None if there is none."""
    position = 0
    while (position := head.find(b"<", position)) >= 0:
        if head.startswith(b"<!--", position):
            end = head.find(b"-->", position + 2)
            if end < 0:
                return None
            position = end + 3
        elif found := _META.match(head, position) or _TAG.match(head, position):
            attributes, position = _attributes(head, found.end())
            if position < 0:
                return None
            if found.re is _META and (name := _declared(attributes)):
                return name
        elif head[position + 1 : position + 2] in (b"!", b"/", b"?"):
            position = head.find(b">", position)
            if position < 0:
                return None
        else:
            position += 1
    return None


def find_late_in_html(body: bytes) -> str | None:
    """The same for a document without a declaration in its first bytes."""
    return find_in_html(_NO_TAGS.sub(b"", body[:_MOST_BYTES]))


def find_in_xml(head: bytes) -> str | None:
    """The encoding of the XML declaration; None if there is none."""
    for beginning, name in _UTF_16_XML.items():
        if head.startswith(beginning):
            return name
    found = _XML.match(head)
    return _readable(lookup(_text(found[1] or found[2]))) if found else None


def _attributes(head: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of a tag, by name in lower case, and where the tag ends; -1 if it does not end."""
    attributes: dict[bytes, bytes] = {}
    while not (end := _END_OF_TAG.match(head, position)):
        found = _ATTRIBUTE.match(head, position)
        if not found:
            return attributes, -1
        value = found["double"] or found["single"] or found["bare"] or b""
        if value.startswith((b'"', b"'")) and found["bare"]:
            return attributes, -1  # the tag does not end
        attributes.setdefault(found["name"].lower(), value)
        position = found.end()
    return attributes, end.end()


def _declared(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        name = lookup(_text(attributes[b"charset"]))
    elif attributes.get(b"http-equiv", b"").lower() == b"content-type" and (
        found := _CHARSET.search(attributes.get(b"content", b"").lower())
    ):
        name = lookup(_text(found[1] or found[2] or found[3] or b""))
    else:
        return None
    return "windows-1252" if name == "x-user-defined" else _readable(name)


def _readable(name: str | None) -> str | None:
    """UTF-8 for UTF-16: a declaration that was found byte by byte is not in UTF-16."""
    return "utf-8" if name in ("utf-16le", "utf-16be") else name


def _text(label: bytes) -> str:
    return label.decode("ascii", "replace")
