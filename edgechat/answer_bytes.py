"""Bounding answers in bytes: texts when they are stored, and pages of lists when they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from django.http import HttpResponse
from rest_framework.utils.encoders import JSONEncoder

from edgechat.graphemes import cut

T = TypeVar("T")

# A page ends before the item that does not fit.
PAGE_BYTES = 1_000_000

_LINE_ENDS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def text_bytes(text: str) -> int:
    """How many bytes a text takes in an answer: UTF-8, and what JSON escapes, which can be six times as long."""
    return len(json_text(text).encode(errors="replace")) - 2


def beginning_within(text: str, *, limit: int) -> str:
    """The beginning of a text that takes about `limit` bytes in an answer, and never more."""
    while (size := text_bytes(text)) > limit:
        text = cut(text, len(text) * max(0, limit) // size)
    return text


def take_page(
    items: Iterable[T], size: Callable[[T], int], *, limit: int = PAGE_BYTES, least: int = 1
) -> tuple[list[T], bool]:
    """The items that fit together, and the first `least` ones always; and whether others were left.

    `items` is read no further than the first that does not fit.
    """
    taken: list[T] = []
    left = limit
    for item in items:
        left -= size(item)
        if left < 0 and len(taken) >= least:
            return taken, True
        taken.append(item)
    return taken, False


def json_text(body: Any) -> str:
    """JSON of anything that REST framework's can hold, on one line for every reader.

    Those of events and of lines of JSON may split them wherever Unicode has a line end, as Python's `splitlines` does;
    of its line ends JSON itself escapes only those below U+0020.
    """
    text = json.dumps(body, cls=JSONEncoder, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in _LINE_ENDS.items():
        text = text.replace(character, escaped)
    return text


def encode_json(body: Any) -> bytes:
    return json_text(body).encode()


def list_response(name: str, items: Sequence[bytes], **more: Any) -> HttpResponse:
    """`{name: [...], **more}` of items that are encoded already, as they had to be to count their bytes."""
    body = b'{"%s":[%s],%s' % (name.encode(), b",".join(items), encode_json(more)[1:])
    return HttpResponse(body, content_type="application/json")
