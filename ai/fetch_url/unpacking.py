"""Decompresses response bodies."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

_PIECE_BYTES = 64 * 1024
# Members of a gzip body. Programs that write several put kilobytes into each; an empty one costs as much as a full one.
_MAX_MEMBERS = 1000

_GZIP_MAGIC = b"\x1f\x8b\x08"
_PACKINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


def find_packing(headers: list[str]) -> str | None:
    """Identity, gzip or deflate, from all Content-Encoding headers. None for anything unsupported.

    Only one packing is supported: with several, an intermediate result can exceed any memory although the final one is
    small. Two servers on the way may both name the same packing, in one header or in two; this counts as one.
    """
    names = {name.strip().lower() for header in headers for name in header.split(",")} - {"", "identity"}
    packings = {_PACKINGS.get(name) for name in names} or {"identity"}
    return packings.pop() if len(packings) == 1 else None


def unpack(pieces: Iterable[bytes], packing: str) -> Iterator[bytes]:
    """The unpacked bytes in pieces of bounded length. Raises zlib.error for broken or truncated data."""
    if packing == "identity":
        yield from pieces
        return
    waiting, data = iter(pieces), b""
    for number in range(_MAX_MEMBERS):
        while len(data) < len(_GZIP_MAGIC) and (piece := next(waiting, None)) is not None:
            data += piece
        # Like other gzip readers, ignore trailing data that is not a member.
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
    """Deflate should have zlib's header; some servers omit it."""
    is_zlib = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
