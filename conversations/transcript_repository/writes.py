"""Many documents are written a few at a time, so that each write ends within the time of one operation.

A server under load may store fewer than a hundred documents in a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import bson

from edgechat.http.answer_bytes import take_page

M = TypeVar("M", bound=Mapping[str, Any])

DOCUMENTS_PER_WRITE = 25
KEYS_PER_DELETION = 100
_BYTES_PER_WRITE = 256 * 1024


def in_writes(documents: Sequence[M]) -> Iterator[list[M]]:
    """The documents in order, in lists for one write each; a document that is larger than a write is written alone."""
    first = 0
    while first < len(documents):
        few = documents[first : first + DOCUMENTS_PER_WRITE]
        some, _ = take_page(few, lambda document: len(bson.encode(document)), limit=_BYTES_PER_WRITE)
        yield some
        first += len(some)
