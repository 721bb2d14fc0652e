"""The directives of the scripted model: `[[name=value]]` in the last user text sets how a call is answered."""

import re
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from edgechat.local.model_server.gemini_protocol import GeminiError

DIRECTIVE = re.compile(r"\s*\[\[([a-z_]+)=(.*?)\]\]", re.DOTALL)
PERCENT_ENCODED = frozenset({"call", "say", "tail", "version", "retry_after", "raw", "details"})

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Chunks = Annotated[int, Meta(ge=0, le=100_000)]
Tokens = Annotated[int, Meta(ge=0, le=10_000_000)]
ErrorStatus = Annotated[int, Meta(ge=400, le=599)]


class Directives(msgspec.Struct, forbid_unknown_fields=True):
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
    call: JSON `{"name", "args"}` of a function call, percent-encoded, after the text; several in a list.
    raw: the chunks themselves, a line each, percent-encoded. details: JSON in a fault's details, percent-encoded.
    """

    delay: Seconds = 0.0
    chunks: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    gap: Seconds = 0.0
    length: Tokens | None = None
    say: str | None = None
    empty: bool = False
    status: ErrorStatus | None = None
    retry: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    fail_first: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    key: str | None = None
    block: Literal["prompt", "answer", "partial"] | None = None
    cut: Chunks | None = None
    cut_by: Literal["reset", "close"] = "reset"
    hang: Seconds | None = None
    rubbish: Literal[0, 1, 2, 3] = 0
    finish: str | None = None
    thoughts: Tokens = 0
    cached: Tokens = 0
    nousage: bool = False
    retry_after: str | None = None
    tools: Tokens = 0
    error: ErrorStatus | None = None
    error_at: Chunks = 0
    tail: str | None = None
    linger: Seconds = 0.0
    version: str | None = None
    continuation: str | None = None
    counted: Chunks | None = None
    raw: str | None = None
    details: str | None = None
    call: str | None = None


def parse_directives(text: str) -> tuple[Directives, str]:
    """The directives, and the text without them. Raises GeminiError 400 for an unknown name or an invalid value.

    A mistyped directive must not count as ordinary text: the test that contains it would then prove nothing.
    """
    given = {name: unquote(value) if name in PERCENT_ENCODED else value for name, value in DIRECTIVE.findall(text)}
    try:
        found = msgspec.convert(given, Directives, strict=False)
    except msgspec.ValidationError as fault:
        raise GeminiError(400, f"A [[directive=value]] is not valid. {fault}.") from fault
    if found.fail_first and not found.key:
        raise GeminiError(400, "[[fail_first=N]] needs a [[key=NAME]] to count by.")
    return found, DIRECTIVE.sub("", text).strip()
