"""Checks uploaded pictures and re-encodes them from their pixels, so that nothing else of an upload is kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any, Literal

import structlog

from ai.parsing.limits import MAX_PICTURE_BYTES, MAX_PIXELS, MAX_SIDE
from edgechat.errors import StoreUnavailable, TooLarge, UnsupportedType
from edgechat.sandbox.job_limit import JobLimit, NotStarted, OutOfTime
from edgechat.sandbox.jobs import Job, JobFailed

logger = structlog.get_logger(__name__)

TOO_MANY_BYTES = "A picture may have 10 MB at most"
ACCEPTED = "accepted: image/jpeg, image/png, image/webp, image/gif, image/heic, image/heif"
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

WORK_SECONDS, WAIT_SECONDS = 60.0, 120.0
# Processing 40 megapixels takes over 300 MB, and for WebP over 700 MB. HEIC is decoded in a thread.
_job = Job(
    "ai.parsing.picture", limit=JobLimit(2, per_user=1), memory=1536 * 1024**2, max_bytes=128 * 1024**2, threads=True
)


@dataclass(frozen=True)
class Rendering:
    """A JPEG or PNG file without metadata; `width` and `height` in pixels."""

    data: bytes
    mime_type: Literal["image/jpeg", "image/png"]
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """An upload's three renderings: full size, and at most 1568 and 256 pixels on the longest side.

    All are upright and in sRGB; `for_model` is opaque. `sha256` is the hexadecimal digest of `stored.data`. The same
    upload gives the same bytes.
    """

    stored: Rendering
    for_model: Rendering
    thumbnail: Rendering
    sha256: str


def read_picture(file: IO[bytes]) -> Picture:
    """Make the renderings of an upload; its name and declared type are ignored. For animations, of the first frame.

    Waits for the process's other pictures. Raises TooLarge (bytes, pixels), UnsupportedType (other types, and files
    that are damaged, truncated or take too long), and StoreUnavailable if the other pictures take too long.
    """
    if file.seek(0, io.SEEK_END) > MAX_PICTURE_BYTES:
        raise TooLarge(TOO_MANY_BYTES)
    file.seek(0)
    kind = _kind(file.read(16))
    if kind is None:
        raise UnsupportedType(f"Unsupported media type; {ACCEPTED}")
    file.seek(0)
    data = file.read()
    damaged = UnsupportedType(f"The picture is damaged or incomplete; {ACCEPTED}")
    try:
        result, files = _job.run({"kind": kind}, data, seconds=WORK_SECONDS, wait_seconds=WAIT_SECONDS)
        if result.get("refused") == "pixels":
            raise TooLarge(f"A picture may have 40 megapixels and {MAX_SIDE} pixels a side at most")
        stored, for_model, thumbnail = map(_rendering, result["renderings"], files)
        return Picture(stored, for_model, thumbnail, sha256=str(result["sha256"]))
    except NotStarted as error:
        raise StoreUnavailable from error
    except (OutOfTime, JobFailed, LookupError, TypeError, ValueError) as error:
        logger.info("picture_refused", reason=repr(error)[:200])
        raise damaged from error


def _kind(start: bytes) -> str | None:
    """Pillow's name of the type, by the first 16 bytes of a file; None for an unsupported type."""
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        return "HEIF"
    return None


def _rendering(described: dict[str, Any], data: bytes) -> Rendering:
    """Raises ValueError, LookupError or TypeError for an impossible rendering."""
    mime_type, width, height = described["mime_type"], int(described["width"]), int(described["height"])
    if mime_type not in ("image/jpeg", "image/png") or not 0 < width * height <= MAX_PIXELS:
        raise ValueError("not a rendering")
    return Rendering(data, mime_type, width, height)
