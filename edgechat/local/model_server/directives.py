"""The directives of the scripted model: `[[name=value]]` in the last user text sets how a call is answered."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from edgechat.local.model_server.gemini_protocol import GeminiError

DIRECTIVE = re.compile(r"\s*\[\[([a-z_]+)=(.*?)\]\]", re.DOTALL)
MAX_SECONDS = 3600.0
MAX_CHUNKS = 100_000
MAX_LENGTH = 10_000_000
BLOCKS = ("prompt", "answer", "partial")


@dataclass(slots=True)
class Directives:
    """The directives of one call, by their names. Times are in seconds.

    delay: wait before anything is sent. chunks, gap: of a stream. length, say, empty: the answer's text.
    status, retry, retry_after: a fault, with its retryDelay and its header Retry-After.
    fail_first, key: that fault (default 503) for a key's first calls.
    block: "prompt", "answer" (no text) or "partial" (SAFETY after the text). finish: the finishReason.
    cut: reset the connection after that many chunks (of an answer in one piece: in its middle, 0 before its body).
    cut_by: "reset" or "close" (an orderly end in the middle). hang: never answer, close the connection after that time.
    rubbish: 1 no JSON, 2 JSON of a wrong shape, 3 an empty object.
    thoughts, cached, tools: token counts. nousage: no counts. counted: only that many first chunks have them.
    error, error_at: an error with that status in a stream that started with 200, after that many chunks.
    tail: a stream's line after its last chunk, percent-encoded. linger: time from the last chunk to the stream's end.
    version: the modelVersion. continuation: every chunk's continuationToken.
    raw: the chunks themselves, a line each, percent-encoded. details: JSON in a fault's details, percent-encoded.
    """

    delay: float = 0.0
    chunks: int | None = None
    gap: float = 0.0
    length: int | None = None
    say: str | None = None
    empty: bool = False
    status: int | None = None
    retry: int | None = None
    fail_first: int = 0
    key: str | None = None
    block: str | None = None
    cut: int | None = None
    cut_by: str = "reset"
    hang: float | None = None
    rubbish: int = 0
    finish: str | None = None
    thoughts: int = 0
    cached: int = 0
    nousage: bool = False
    retry_after: str | None = None
    tools: int = 0
    error: int | None = None
    error_at: int = 0
    tail: str | None = None
    linger: float = 0.0
    version: str | None = None
    continuation: str | None = None
    counted: int | None = None
    raw: str | None = None
    details: str | None = None


def parse_directives(text: str) -> tuple[Directives, str]:
    """The directives, and the text without them. Raises GeminiError 400 for an unknown name or an invalid value.

    A mistyped directive must not count as ordinary text: the test that contains it would then prove nothing.
    """
    found = Directives()
    for name, value in DIRECTIVE.findall(text):
        setattr(found, name, parse_value(name, value))
    if found.fail_first and not found.key:
        raise GeminiError(400, "[[fail_first=N]] needs a [[key=NAME]] to count by.")
    return found, DIRECTIVE.sub("", text).strip()


def parse_value(name: str, value: str) -> Any:
    if name in ("delay", "gap", "hang", "linger"):
        return decimal(name, value)
    if name in WHOLE_NUMBERS:
        return whole(name, value, *WHOLE_NUMBERS[name])
    if name in ("empty", "nousage"):
        return whole(name, value, 0, 1) == 1
    if name in CHOICES and value not in CHOICES[name]:
        raise GeminiError(400, f"[[{name}={value}]]: one of {', '.join(CHOICES[name])} was expected.")
    if name in ("say", "tail", "version", "retry_after", "raw", "details"):
        return unquote(value)
    if name in ("block", "cut_by", "key", "finish", "continuation"):
        return value
    raise GeminiError(400, f"[[{name}={value}]]: there is no such directive.")


WHOLE_NUMBERS = {
    "chunks": (1, MAX_CHUNKS),
    "length": (0, MAX_LENGTH),
    "status": (400, 599),
    "retry": (0, 86_400),
    "fail_first": (0, 1_000_000),
    "cut": (0, MAX_CHUNKS),
    "rubbish": (0, 3),
    "thoughts": (0, 10_000_000),
    "cached": (0, 10_000_000),
    "tools": (0, 10_000_000),
    "error": (400, 599),
    "error_at": (0, MAX_CHUNKS),
    "counted": (0, MAX_CHUNKS),
}
CHOICES = {"block": BLOCKS, "cut_by": ("reset", "close")}


def whole(name: str, value: str, low: int, high: int) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 12 or not low <= int(value) <= high:
        raise GeminiError(400, f"[[{name}={value}]]: a whole number from {low} to {high} was expected.")
    return int(value)


def decimal(name: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value, re.ASCII) or float(value) > MAX_SECONDS:
        raise GeminiError(400, f"[[{name}={value}]]: seconds from 0 to {MAX_SECONDS:.0f} were expected.")
    return float(value)
