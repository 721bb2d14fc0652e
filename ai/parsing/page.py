"""The text and the title of a fetched document: HTML, PDF or plain text."""

from __future__ import annotations

import codecs
import io
import logging
import re
from contextlib import suppress
from typing import Any

import pypdf
import trafilatura
from trafilatura.settings import Document

from ai.parsing.limits import MAX_PDF_PAGES, MAX_TEXT_CHARACTERS, MAX_TITLE_LENGTH

_PDF_LIMITS: dict[str, Any] = {
    "array_based_stream_maximum_output_length": 20_000_000,
    "lzw_maximum_output_length": 20_000_000,
    "run_length_maximum_output_length": 20_000_000,
    "zlib_maximum_output_length": 20_000_000,
    "xform_maximum_invocations_per_extraction": 200,
    "jbig2dec_binary": None,
}

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE | re.ASCII)
_MARKUP = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class _Refused(Exception):
    """The document is one that is not read; the text is one of the words that `run` may answer."""


def prepare() -> None:
    """Load what the libraries load with their first document: a page without much text takes them everywhere."""
    # They would tell the web server's log what is wrong with each document.
    logging.disable()
    _read_html("<html><head><title>A page</title></head><body><p>Some words.</p></body></html>")
    with suppress(Exception):
        _read_pdf(b"%PDF-1.7")


def run(arguments: dict[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """`{"title"}`, None if it has none, and the text in UTF-8; or `{"refused"}` and nothing.

    `arguments` has the header's `content_type`, which may be empty. Refused is what is `encrypted`, of too many `pages`
    or `characters`, of a `type` that is not read, or `unreadable`. Raises whatever the libraries do.
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
    return {"title": " ".join(_clean(title or "").split())[:MAX_TITLE_LENGTH] or None}, [text.encode()]


def _read(body: bytes, content_type: str) -> tuple[str | None, str]:
    """A PDF is told by its content, because many servers have no type for it."""
    media_type, _, parameters = content_type.lower().partition(";")
    media_type = media_type.strip()
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", parameters)
    charset = found[1] if found else None
    head = body[:1024].lstrip()
    if head.startswith(b"%PDF-"):
        return _read_pdf(body)
    if media_type in ("text/html", "application/xhtml+xml") or (not media_type and _MARKUP.match(head)):
        return _read_html(_decoded(body, charset))
    if media_type == "text/plain":
        return None, _decoded(body, charset)
    raise _Refused("unreadable" if media_type == "application/pdf" else "type")


def _read_html(html: str) -> tuple[str | None, str]:
    # Given bytes, it would unpack them once more, unbounded. The date is not used, and looking for it is slow.
    document = trafilatura.bare_extraction(
        html, include_comments=False, with_metadata=True, date_extraction_params={"extensive_search": False}
    )
    if not isinstance(document, Document):
        return None, trafilatura.html2txt(html)
    return document.title, document.text or trafilatura.html2txt(html)


def _read_pdf(body: bytes) -> tuple[str | None, str]:
    with pypdf.apply_configuration(**_PDF_LIMITS):
        reader = pypdf.PdfReader(io.BytesIO(body))
        # Many are encrypted only against changes: anybody may read them.
        if reader.is_encrypted and not reader.decrypt(""):
            raise _Refused("encrypted")
        if len(reader.pages) > MAX_PDF_PAGES:
            raise _Refused("pages")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
        return reader.metadata.title if reader.metadata else None, text


def _decoded(body: bytes, charset: str | None) -> str:
    """Text by its byte order mark, the header's charset, its own, UTF-8 or Windows-1252: the first that there is."""
    marked = [encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if body.startswith(mark)]
    declared = _CHARSET.search(body[:2048])
    names = [*marked, charset, declared[1].decode("ascii") if declared else None]
    text = None
    for name in names:
        # Python's own inventions have no place on the web, and decoding some of them takes minutes.
        if name and not re.search("escape|puny|idna", name, re.IGNORECASE):
            with suppress(LookupError, UnicodeError):
                text = body.decode(name, "replace")
                break
    if text is None:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            text = body.decode("windows-1252", "replace")
    if "\0" in text[:1024]:
        raise _Refused("type")
    return text


def _clean(text: str) -> str:
    """What JSON and the stores can hold: no lone surrogates, no NUL."""
    return text.encode(errors="replace").decode().replace("\0", "").strip()
