"""The entries of a reply's stream in Redis. They are validated, because other clients of Redis can write them."""

from __future__ import annotations

from dataclasses import dataclass

# Larger than any reply needs; a position (conversations.replies.events) has no more digits than these.
MAX_ATTEMPT = 1_000_000
MAX_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class Piece:
    """A piece of an attempt's text, and its offset in characters; `text` is None for the attempt's end."""

    attempt: int
    offset: int
    text: str | None


def read_piece(fields: dict[bytes, bytes]) -> Piece | None:
    """The piece of an entry; None if the entry is not valid."""
    try:
        attempt = int(fields[b"a"])
        piece = Piece(attempt, 0, None) if b"e" in fields else Piece(attempt, int(fields[b"o"]), fields[b"t"].decode())
    except (KeyError, TypeError, ValueError):
        return None
    fits = 0 < attempt <= MAX_ATTEMPT and piece.offset >= 0 and piece.offset + len(piece.text or "") <= MAX_CHARACTERS
    return piece if fits else None
