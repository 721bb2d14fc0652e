"""Extracts the text and the title of a fetched document: HTML, PDF or plain text."""

from __future__ import annotations

import codecs
import io
import logging
import re
from contextlib import suppress
from typing import Any

import lxml.etree
import lxml.html
import pypdf
import trafilatura
from trafilatura.settings import Document

from ai.parsing import declarations, encodings, refresh
from ai.parsing.limits import MAX_PDF_PAGES, MAX_TEXT_CHARACTERS, MAX_TITLE_LENGTH
from edgechat.graphemes import cut

_PDF_LIMITS: dict[str, Any] = {
    "array_based_stream_maximum_output_length": 20_000_000,
    "lzw_maximum_output_length": 20_000_000,
    "run_length_maximum_output_length": 20_000_000,
    "zlib_maximum_output_length": 20_000_000,
    "xform_maximum_invocations_per_extraction": 200,
    "jbig2dec_binary": None,
}

# The values of combined headers, the charset of a value, and the form of a media type.
_VALUES = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_CHARSET = re.compile(r""";\s*charset\s*=\s*(?:"([^"]*)"?|'([^']*)'|([^\s;]*))""", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+", re.ASCII)

_HTML = ("text/html", "application/xhtml+xml")
_XML_DECLARATION = re.compile(r"\s*<\?xml\s[^>]*>")
_MARKUP = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml\s[^>]{0,200}>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_ISO_2022_JP = b"\x1b$"  # its bytes are all ASCII, so it is also valid UTF-8
_PDF_MARK = b"%PDF-"


class _Refused(Exception):
    """The document is not supported; the text is the reason, one of those that `run` returns."""


class _Redirected(Exception):
    """The document only redirects; the text is the target."""


def prepare() -> None:
    """Parse a short page, so that the libraries load everything that they load with their first document."""
    # The libraries would write the faults of each document to the web server's log.
    logging.disable()
    _read_html("<html><head><title>A page</title></head><body><p>Some words.</p></body></html>")
    with suppress(Exception):
        _read_pdf(b"%PDF-1.7")


def run(arguments: dict[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """`{"title"}` (None if there is none) and the text in UTF-8; or `{"refused"}` or `{"redirect"}` without text.

    `arguments` has the header's `content_type`, which may be empty. A redirect may be relative to the page. The values
    of `refused` are `encrypted`, `pages` or `characters` (too many), `type` (unsupported) and `unreadable`. Raises
    anything that the libraries raise.
    """
    try:
        title, text = _read(body, arguments["content_type"])
        text = _clean(text)
        if not text:
            raise _Refused("unreadable")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise _Refused("characters")
    except _Refused as refused:
        return {"refused": str(refused)}, []
    except _Redirected as redirected:
        return {"redirect": _clean(str(redirected))}, []
    return {"title": cut(" ".join(_clean(title or "").split()), MAX_TITLE_LENGTH) or None}, [text.encode()]


def _read(body: bytes, content_type: str) -> tuple[str | None, str]:
    """PDFs are recognized by their content, because many servers send no type for them."""
    media_type, charset = _parse_content_type(content_type)
    head = body[:1024]
    is_html = media_type in _HTML or (not media_type and bool(_MARKUP.match(head)))
    start = head.find(_PDF_MARK)
    # PDF readers skip bytes before the mark. A text that only mentions the mark must not be taken for a PDF.
    is_text = is_html or media_type == "text/plain"
    if start >= 0 and (not is_text or not head[:start].removeprefix(codecs.BOM_UTF8).strip(b"\0 \t\r\n\f")):
        return _read_pdf(body[start:])
    if is_html:
        return _read_html(_decoded(body, charset, kind=media_type or "text/html"))
    if media_type == "text/plain":
        return None, _decoded(body, charset, kind=media_type)
    raise _Refused("unreadable" if media_type == "application/pdf" else "type")


def _parse_content_type(content_type: str) -> tuple[str, str | None]:
    """The type (empty if none) and the encoding (None if none) of a Content-Type, possibly of several headers."""
    media_type, charset = "", None
    for value in _VALUES.findall(content_type):
        name = value.partition(";")[0].strip().lower()
        if not _MEDIA_TYPE.fullmatch(name) or name == "*/*":
            continue
        found = _CHARSET.search(value)
        known = encodings.lookup(found[1] or found[2] or found[3]) if found else None
        charset = known or (charset if name == media_type else None)
        media_type = name
    return media_type, charset


def _read_html(html: str) -> tuple[str | None, str]:
    # The text is already decoded: lxml would decode it again by the XML declaration.
    html = _XML_DECLARATION.sub("", html, count=1) if _XML_DECLARATION.match(html) else html
    if refresh.may_refresh(html):
        with suppress(lxml.etree.ParserError, ValueError):
            location = refresh.find_redirect(lxml.html.document_fromstring(html))
            if location:
                raise _Redirected(location)
    # Text, not bytes: trafilatura would decompress bytes without a limit. The date is unused, and its search is slow.
    document = trafilatura.bare_extraction(
        html, include_comments=False, with_metadata=True, date_extraction_params={"extensive_search": False}
    )
    if not isinstance(document, Document):
        return None, trafilatura.html2txt(html)
    return document.title, document.text or trafilatura.html2txt(html)


def _read_pdf(body: bytes) -> tuple[str | None, str]:
    with pypdf.apply_configuration(**_PDF_LIMITS):
        reader = pypdf.PdfReader(io.BytesIO(body))
        # Many PDFs are encrypted only against changes, and anyone may read them.
        if reader.is_encrypted and not reader.decrypt(""):
            raise _Refused("encrypted")
        if len(reader.pages) > MAX_PDF_PAGES:
            raise _Refused("pages")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
        return reader.metadata.title if reader.metadata else None, text


def _decoded(body: bytes, charset: str | None, *, kind: str) -> str:
    """Text by the byte order mark, the header, the document's declaration, UTF-8 or Windows-1252, in this order."""
    name, mark = encodings.find_mark(body)
    if name is None:
        name = charset
    if name is None and kind != "text/plain":
        head = body[: declarations.FIRST_BYTES]
        finders = [declarations.find_in_html, declarations.find_in_xml]
        for find in reversed(finders) if kind == "application/xhtml+xml" else finders:
            name = name or find(head)
    if name is None:
        name = "utf-8" if _is_utf_8(body) else "windows-1252"
        if kind != "text/plain" and (name != "utf-8" or _ISO_2022_JP in body):
            name = declarations.find_late_in_html(body) or name
    text = encodings.decode(body[mark:], name)
    if "\0" in text[:1024]:
        raise _Refused("type")
    if name == "replacement":
        raise _Refused("unreadable")
    return text


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _clean(text: str) -> str:
    """Text that JSON and the stores can hold: without lone surrogates and NUL."""
    return text.encode(errors="replace").decode().replace("\0", "").strip()
