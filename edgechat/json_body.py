"""JSON in, JSON out: the parser and the content negotiation of every REST view."""

from __future__ import annotations

import json
import math
from itertools import accumulate
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from edgechat.errors import Invalid, MalformedJSON, TooLarge

# Beyond what any call takes. A body of 256 KiB may otherwise be 87,000 objects.
MAX_VALUES = 10_000
MAX_DEPTH = 64
# Of callers without a token, who have no more to say than an address, a password and a name.
MAX_STRANGERS_BYTES = 64 * 1024


class JSONBodyParser(BaseParser):
    """UTF-8 JSON. MalformedJSON for everything that is not, infinities and too deep nesting included.

    It takes MAX_JSON_BYTES, and what is more only for a view that says so: `max_json_bytes`.
    """

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        request, view = parser_context["request"], parser_context["view"]
        limit = min(max(settings.MAX_JSON_BYTES, getattr(view, "max_json_bytes", 0)), settings.MAX_BODY_BYTES)
        if request.auth is None:
            limit = min(limit, MAX_STRANGERS_BYTES)
        try:
            body = stream.read(limit + 1)
            if len(body) > limit:
                raise TooLarge(f"The body may have {limit} bytes at most")
            check_shape(body)
            return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite_float)
        except RequestDataTooBig:
            raise
        except (ValueError, RecursionError, OSError) as error:
            raise MalformedJSON from error


def check_shape(body: bytes) -> None:
    """MalformedJSON where arrays and objects are more than MAX_DEPTH deep, Invalid beyond MAX_VALUES values.

    It only counts, in time that is linear in the length, for the parser makes an object of each value.
    """
    if _bound(body) <= MAX_DEPTH:
        return
    # What is left of the text when strings are taken out. Escaped backslashes go first, then escaped quotes, so that
    # each quote that remains begins or ends a string. Each value may be one, and have a name that is another.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    *strings, rest = plain.split(b'"', 4 * MAX_VALUES)
    too_many_strings = len(strings) == 4 * MAX_VALUES
    outside = b"".join([*strings[::2], b"" if too_many_strings or len(strings) % 2 else rest])
    # More brackets than these are too many values, if they are not too deep before that.
    brackets = outside.translate(_STEPS, _ALL_BUT_BRACKETS)[: 2 * MAX_VALUES]
    if max(accumulate(step - 1 for step in brackets), default=0) > MAX_DEPTH:
        raise MalformedJSON
    if too_many_strings or _bound(outside) > MAX_VALUES:
        raise Invalid({"body": f"May hold {MAX_VALUES} values at most."})


_STEPS = bytes.maketrans(b"[{]}", b"\2\2\0\0")  # one up and one down, plus 1
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


def _bound(text: bytes) -> int:
    """More values than this are not in it."""
    return 1 + text.count(b",") + text.count(b"[") + text.count(b"{")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large for a number")
    return number


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON whatever `Accept` says: views that stream look at the header themselves, and nothing is a 406."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = renderers[0]
        return renderer, renderer.media_type
