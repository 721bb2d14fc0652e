"""Bodies as they were before a server packed them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_PIECE_BYTES = 64 * 1024
# Of a gzip body. Programs that write several put kilobytes into each; an empty one takes as long as a large one.
_MAX_MEMBERS = 1000

_GZIP_MAGIC = b"\x1f\x8b\x08"
_PACKINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


def find_packing(headers: list[str]) -> str | None:
    """Identity, gzip or deflate, by all Content-Encoding headers. None for what is not read.

    One packing: several may unpack to almost nothing by way of more than fits anywhere. One that two servers on the way
    have told alike, in two headers or in one, is one.
    """
    names = {name.strip().lower() for header in headers for name in header.split(",")} - {"", "identity"}
    packings = {_PACKINGS.get(name) for name in names} or {"identity"}
    return packings.pop() if len(packings) == 1 else None


def unpack(pieces: Iterable[bytes], packing: str) -> Iterator[bytes]:
    """The unpacked bytes, a piece of bounded length at a time. Raises zlib.error for what is broken or cut short."""
    if packing == "identity":
        yield from pieces
        return
    waiting, data = iter(pieces), b""
    for number in range(_MAX_MEMBERS):
        while len(data) < len(_GZIP_MAGIC) and (piece := next(waiting, None)) is not None:
            data += piece
        # Readers of gzip ignore what comes behind the last member, and is none.
        if number and not (data and data.startswith(_GZIP_MAGIC[: len(data)])):
            return
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16 if packing == "gzip" else _deflate_bits(data))
        while not unpacker.eof:
            if not data:
                data = next(waiting, b"")
            unpacked = unpacker.decompress(data, _PIECE_BYTES)
            if not data and not unpacked and not unpacker.eof:
                raise zlib.error("cut short")
            yield unpacked
            data = unpacker.unconsumed_tail
        if packing == "deflate":
            return
        data = unpacker.unused_data
    raise zlib.error("too many members")


def _deflate_bits(data: bytes) -> int:
    """Deflate is meant to come in zlib's format, and from some servers comes without."""
    is_zlib = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
