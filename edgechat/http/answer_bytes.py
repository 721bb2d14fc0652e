"""Answers as JSON, bounded in bytes: texts are bounded when they are stored, pages of lists when they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import msgspec

from edgechat.graphemes import cut

T = TypeVar("T")

# A page ends before the first item that does not fit.
PAGE_BYTES = 1_000_000

_encoder = msgspec.json.Encoder()
_LINE_ENDS = {character.encode(): f"\\u{ord(character):04x}".encode() for character in "\u0085\u2028\u2029"}


def text_bytes(text: str) -> int:
    """How many bytes a text takes in an answer: UTF-8 with JSON's escapes, which can be six times as long."""
    return len(encode_json(text.encode(errors="replace").decode())) - 2


def beginning_within(text: str, *, limit: int) -> str:
    """The beginning of a text that takes about `limit` bytes in an answer, and never more."""
    while (size := text_bytes(text)) > limit:
        text = cut(text, len(text) * max(0, limit) // size)
    return text


def take_page(
    items: Iterable[T], size: Callable[[T], int], *, limit: int = PAGE_BYTES, least: int = 1
) -> tuple[list[T], bool]:
    """The items that fit together, always including the first `least` ones; and whether items were left.

    `items` is read no further than the first item that does not fit.
    """
    taken: list[T] = []
    left = limit
    for item in items:
        left -= size(item)
        if left < 0 and len(taken) >= least:
            return taken, True
        taken.append(item)
    return taken, False


def page_of(bodies: Iterable[T], *, limit: int = PAGE_BYTES) -> tuple[list[T], bool]:
    """The bodies that fit together, and whether bodies were left.

    The bodies are already encoded, because counting their bytes needs it; use them only as part of another encoded
    body.
    """
    page, cut = take_page(map(encode_json, bodies), len, limit=limit)
    return [cast(T, msgspec.Raw(encoded)) for encoded in page], cut


def encode_json(body: Any) -> bytes:
    """A body as JSON, on one line for every reader.

    Readers of events and of JSON lines may split at every Unicode line end, as Python's `splitlines` does. JSON itself
    escapes only the line ends below U+0020.
    """
    encoded = _encoder.encode(body)
    if not encoded.isascii():
        for character, escaped in _LINE_ENDS.items():
            encoded = encoded.replace(character, escaped)
    return encoded
