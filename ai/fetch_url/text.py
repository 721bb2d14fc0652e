"""The text and the title of a fetched document."""

from __future__ import annotations

import codecs
import io
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pypdf
import trafilatura
from trafilatura.settings import Document

from ai.fetch_url.limits import CANNOT_READ, WRONG_TYPE, Deadline, PageRefused
from edgechat.threads import run_cpu_bound

MAX_PDF_PAGES = 300
MAX_TITLE_LENGTH = 300

PDF_LIMITS: dict[str, Any] = {
    "array_based_stream_maximum_output_length": 20_000_000,
    "lzw_maximum_output_length": 20_000_000,
    "run_length_maximum_output_length": 20_000_000,
    "zlib_maximum_output_length": 20_000_000,
    "xform_maximum_invocations_per_extraction": 200,
    "jbig2dec_binary": None,
}

# Fewer than run_cpu_bound's slots: documents that take all their time must not keep people from logging in.
_slots = threading.BoundedSemaphore(1)

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE | re.ASCII)
_MARKUP = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(body: bytes, content_type: str, *, deadline: Deadline) -> tuple[str | None, str]:
    """The title, or None, and the text of an HTML page, a PDF or a plain text. Raises PageRefused.

    `content_type` is the header's text, and may be empty.
    """
    media_type, _, parameters = content_type.lower().partition(";")
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", parameters)
    read = _reader(body, media_type.strip(), charset[1] if charset else None)
    # Not later: the body of a connection that was cut at the deadline may look whole.
    if not _slots.acquire(timeout=deadline.left()):
        raise deadline.refusal()
    try:
        outcome = run_cpu_bound(_bounded, read, deadline)
    finally:
        _slots.release()
    if isinstance(outcome, PageRefused):
        raise outcome
    title, text = outcome[0], _clean(outcome[1])
    if not text:
        raise PageRefused(CANNOT_READ)
    return " ".join(_clean(title or "").split())[:MAX_TITLE_LENGTH] or None, text


_TRACED = {"pypdf", "trafilatura", "justext", "htmldate", "courlan", "lxml"}

Read = Callable[[], tuple[str | None, str]]


def _reader(body: bytes, media_type: str, charset: str | None) -> Read:
    """How to read this type of document. A PDF is told by its content, because many servers have no type for it."""
    head = body[:1024].lstrip()
    if head.startswith(b"%PDF-"):
        return lambda: _read_pdf(body)
    if media_type in ("text/html", "application/xhtml+xml") or (not media_type and _MARKUP.match(head)):
        return lambda: _read_html(_decoded(body, charset))
    if media_type == "text/plain":
        return lambda: (None, _decoded(body, charset))
    raise PageRefused(CANNOT_READ if media_type == "application/pdf" else WRONG_TYPE)


def _bounded(read: Read, deadline: Deadline) -> tuple[str | None, str] | PageRefused:
    """Read until the deadline. A refusal is returned: gevent's pool prints the traceback of whatever is raised in it.

    Neither library can be told to stop, a thread can't be killed, and a hostile page keeps them busy for minutes. So
    the interpreter asks at each call of a Python function.
    """

    def check(frame: FrameType, event: str, argument: object) -> None:
        # Not in a callback of the garbage collector: what is raised there is swallowed, and the tracer is gone by then.
        if deadline.passed and frame.f_globals.get("__name__", "").partition(".")[0] in _TRACED:
            raise _OutOfTime

    try:
        before = sys.gettrace()
        sys.settrace(check)
        try:
            return read()
        finally:
            sys.settrace(before)
    except PageRefused as refusal:
        return refusal
    except _OutOfTime:
        return deadline.refusal()
    except Exception:  # a broken document raises anything, RecursionError and MemoryError among it
        return PageRefused(CANNOT_READ)


class _OutOfTime(BaseException):
    """Not an Exception, which the libraries catch."""


def _read_html(html: str) -> tuple[str | None, str]:
    # Given bytes, it would unpack them once more, unbounded. The date is not used, and looking for it is slow.
    document = trafilatura.bare_extraction(
        html, include_comments=False, with_metadata=True, date_extraction_params={"extensive_search": False}
    )
    if not isinstance(document, Document):
        return None, trafilatura.html2txt(html)
    return document.title, document.text or trafilatura.html2txt(html)


def _read_pdf(body: bytes) -> tuple[str | None, str]:
    with pypdf.apply_configuration(**PDF_LIMITS):
        reader = pypdf.PdfReader(io.BytesIO(body))
        # Many are encrypted only against changes: anybody may read them.
        if reader.is_encrypted and not reader.decrypt(""):
            raise PageRefused("The PDF is encrypted")
        if len(reader.pages) > MAX_PDF_PAGES:
            raise PageRefused(f"The PDF has more than {MAX_PDF_PAGES} pages")
        text = "\n\n".join(page.extract_text() for page in reader.pages)
        return reader.metadata.title if reader.metadata else None, text


def _decoded(body: bytes, charset: str | None) -> str:
    """Text by its byte order mark, the header's charset, its own, UTF-8 or Windows-1252: the first that there is.

    Raises PageRefused for what is no text.
    """
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
        raise PageRefused(WRONG_TYPE)
    return text


def _clean(text: str) -> str:
    """What JSON and the stores can hold: no lone surrogates, no NUL."""
    return text.encode(errors="replace").decode().replace("\0", "").strip()
