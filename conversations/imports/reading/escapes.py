"""JSON whose escapes of lone surrogates the parser accepts: it ends the file at one, and exports have them."""

from __future__ import annotations

import re
from typing import IO

# Two escapes of a pair count as one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.|\Z)", re.DOTALL
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR_BYTES = 12


class MendedEscapes:
    """A file of JSON in which U+FFFD stands for each lone surrogate."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At least a byte, except at the end."""
        while part := self._file.read(size):
            data = self._rest + part
            end = _whole(data)
            self._rest = data[end:]
            if end:
                return _mended(data[:end])
        data, self._rest = self._rest, b""
        return _mended(data)


def _mended(data: bytes) -> bytes:
    if not _SURROGATE.search(data):  # most parts have none
        return data
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


def _whole(data: bytes) -> int:
    """Where to cut off an escape, or a pair, that the next part may continue."""
    begin = max(0, len(data) - 2 * _PAIR_BYTES)
    # Behind an odd number of backslashes is no beginning.
    while begin and data[begin - 1] == ord("\\"):
        begin -= 1
    starts = (found.start() for found in _ESCAPE.finditer(data, begin))
    return next((start for start in starts if start > len(data) - _PAIR_BYTES), len(data))
