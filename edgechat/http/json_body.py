"""JSON requests: the parser and the content negotiation of every REST view."""

from __future__ import annotations

import json
import math
import threading
from typing import Any, NoReturn

from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from edgechat.errors import Invalid, MalformedJSON, UnsupportedType
from edgechat.http.request_body import MAX_ANONYMOUS_BYTES, accept_body
from edgechat.processes.threads import Pauses, pause, waiting
from edgechat.stores import store_time

# More than any call needs. Without this limit a body of 256 KiB can hold 87,000 objects.
MAX_VALUES = 10_000
MAX_DEPTH = 64
# Most JSON readers cannot represent a larger number.
MAX_DIGITS = 309


class JSONBodyParser(BaseParser):
    """UTF-8 JSON, with an optional byte order mark.

    Raises MalformedJSON for anything else, including infinities and nesting that is too deep.

    Parsing happens after authentication. The limit is MAX_JSON_BYTES, or the view's `max_json_bytes` if that is larger.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request, view = parser_context["request"], parser_context["view"]
        limit = min(max(settings.MAX_JSON_BYTES, getattr(view, "max_json_bytes", 0)), settings.MAX_BODY_BYTES)
        if request.auth is None:
            limit = min(limit, MAX_ANONYMOUS_BYTES)
        accept_body(request._request, limit)
        body = stream.read()
        if len(body) <= _BLOCK_BYTES:
            return _parse(body) if body else {}
        with waiting(patience=store_time.patience_seconds()), _one_large_body:
            return _parse(body)


# Several large bodies at the same time would each hold the interpreter before any other request gets it.
_one_large_body = threading.BoundedSemaphore()


def _parse(body: bytes) -> Any:
    check_bounds(body)
    try:
        data = json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_short_integer,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedJSON from error
    finally:
        if len(body) > _BLOCK_BYTES:
            pause()
    return data


def check_bounds(body: bytes) -> None:
    """Raise MalformedJSON where arrays and objects are nested deeper than MAX_DEPTH, Invalid beyond MAX_VALUES values.

    It only counts, because the parser makes an object of each value. A long body is counted block by block, and other
    requests run between blocks.
    """
    pauses = Pauses()
    values, strings, depth, in_string, start = 1, 0, 0, 0, 0
    while start < len(body):
        block = body[start : start + _BLOCK_BYTES]
        # A backslash at the end of a block stays with the character that it escapes.
        block = block[: len(block) - (len(block) - len(block.rstrip(b"\\"))) % 2] or block
        start += len(block)
        # After removing escaped backslashes and then escaped quotes, each quote starts or ends a string.
        parts = block.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[in_string::2])
        strings += len(parts) - 1
        in_string = strings % 2
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        for step in outside.translate(_STEPS, _ALL_BUT_BRACKETS):
            depth += step - 1
            if not 0 <= depth <= MAX_DEPTH:
                raise MalformedJSON
        if values > MAX_VALUES or strings > 4 * MAX_VALUES:  # a value and its name may be two strings
            raise Invalid({"body": f"May hold {MAX_VALUES} values at most."})
        pauses.pause()


_BLOCK_BYTES = 32 * 1024
_STEPS = bytes.maketrans(b"[{]}", b"\2\2\0\0")  # one up and one down, plus 1
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large for a number")
    return number


def _short_integer(text: str) -> int:
    """Python's own conversion takes time in the square of the length."""
    if len(text) > MAX_DIGITS:
        raise ValueError("too large for a number")
    return int(text)


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON whatever `Accept` says: views that stream read the header themselves, and no answer is a 406.

    Raises UnsupportedType for a body with a content coding: the server decompresses none.
    """

    def select_parser(self, request: Request, parsers: Any) -> Any:
        codings = request.headers.get("Content-Encoding", "").split(",")
        if any(coding.strip().lower() not in ("", "identity") for coding in codings):
            accepted = ", ".join(parser.media_type for parser in parsers)
            raise UnsupportedType(
                f"Unsupported content encoding; accepted: {accepted}, not compressed (identity)",
                headers={"Accept-Encoding": "identity"},
            )
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = renderers[0]
        return renderer, renderer.media_type
