"""Uploaded pictures, checked and made anew from their pixels, so that nothing else of the upload is kept."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from dataclasses import dataclass
from typing import IO, Literal

import pillow_heif
import structlog
from PIL import ExifTags, Image, ImageCms, WebPImagePlugin  # noqa: F401

from edgechat.errors import ApiError, TooLarge, UnsupportedType
from edgechat.threads import end_work, release_database, run_cpu_bound

logger = structlog.get_logger(__name__)

MAX_BYTES = 10 * 1024 * 1024
TOO_MANY_BYTES = "A picture may have 10 MB at most"
MAX_PIXELS = 40_000_000
MAX_SIDE = 65_500  # as long as a JPEG's side can be
MODEL_SIDE = 1568
THUMBNAIL_SIDE = 256
JPEG_QUALITY = 88

ACCEPTED = "accepted: image/jpeg, image/png, image/webp, image/gif, image/heic, image/heif"
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

# Pillow imports its plugins when it first needs one, in the middle of a request: these are all that we need.
Image.preinit()
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)

# One at a time: 40 megapixels take over 300 MB in the process while they are worked on, and of WebP over 600 MB.
_turn = threading.BoundedSemaphore(1)

# What follows a stretch of a JPEG's compressed data: neither a stuffed zero nor a restart.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")

_SRGB = ImageCms.createProfile("sRGB")

# How to put upright what EXIF's Orientation says of a picture.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Rendering:
    """A JPEG or PNG file without metadata; `width` and `height` in pixels."""

    data: bytes
    mime_type: Literal["image/jpeg", "image/png"]
    width: int
    height: int


@dataclass(frozen=True)
class Picture:
    """An upload's three renderings: full size, 1568 and 256 pixels at most on the longest side; all upright, in sRGB.

    `for_model` is opaque. `sha256` is the hexadecimal digest of `stored.data`. The same upload gives the same bytes.
    """

    stored: Rendering
    for_model: Rendering
    thumbnail: Rendering
    sha256: str


def read_picture(file: IO[bytes]) -> Picture:
    """Make the renderings of an upload, whose name and declared type are not looked at. Of animations the first frame.

    Gives the thread's database connection and turn to work back, and waits for the process's other pictures. Raises
    TooLarge (bytes, pixels) and UnsupportedType (other types, and files that are damaged or end too early).
    """
    if file.seek(0, io.SEEK_END) > MAX_BYTES:
        raise TooLarge(TOO_MANY_BYTES)
    file.seek(0)
    kind = _kind(file.read(16))
    if kind is None:
        raise UnsupportedType(f"Unsupported media type; {ACCEPTED}")
    release_database()
    end_work()
    with _turn:
        file.seek(0)
        made = run_cpu_bound(_make_picture, file.read(), kind)
    if isinstance(made, ApiError):
        logger.info("picture_refused", code=made.code, cause=type(made.__cause__).__name__)
        raise made
    return made


def _kind(start: bytes) -> str | None:
    """Pillow's name of the type that a file is by its first 16 bytes."""
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


def _make_picture(data: bytes, kind: str) -> Picture | ApiError:
    """Returns the error, for gevent prints what is raised in its threads."""
    try:
        image = _decode(data, kind)
    except ApiError as error:
        return error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return _too_many_pixels()
    except Exception as fault:  # Pillow and the libraries under it raise whatever a file leads them to
        damaged = UnsupportedType(f"The picture is damaged or incomplete; {ACCEPTED}")
        damaged.__cause__ = fault
        return damaged
    del data
    photograph = kind in {"JPEG", "HEIF"}
    stored = _encode(image, photograph=photograph)
    image = _fit(image, MODEL_SIDE)
    # On white, for a model may look at the colours under what is transparent, which nobody sees.
    for_model = _encode(_on_white(image), photograph=photograph)
    thumbnail = _encode(_fit(image, THUMBNAIL_SIDE), photograph=photograph)
    return Picture(stored, for_model, thumbnail, sha256=hashlib.sha256(stored.data).hexdigest())


def _too_many_pixels() -> TooLarge:
    return TooLarge(f"A picture may have 40 megapixels and {MAX_SIDE} pixels a side at most")


def _decode(data: bytes, kind: str) -> Image.Image:
    """The pixels, upright, as L, RGB or, where any is transparent, RGBA."""
    if (kind == "JPEG" and _is_slow_jpeg(data)) or (kind == "PNG" and _is_slow_png(data)):
        raise ValueError("made to take long")
    image: Image.Image = Image.open(io.BytesIO(data), formats=[kind])
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise _too_many_pixels()
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    profile = image.info.get("icc_profile")
    if upright is not None:
        image = image.transpose(upright)
    image = _normalised(image, profile)
    # Pillow writes some of it into new files.
    image.info.clear()
    return image


def _is_slow_jpeg(data: bytes) -> bool:
    """Hundreds of passes over the pixels, where encoders make ten, or thousands of segments; either takes minutes."""
    position, segments, scans = 2, 0, 0
    while (marker := _MARKER.search(data, position)) and marker[1] != b"\xd9":
        segments += 1
        scans += marker[1] == b"\xda"
        if segments > 2000 or scans > 100:
            return True
        position = marker.end()
        if marker[1] not in b"\x01\xd8":  # all others say their length
            position += int.from_bytes(data[position : position + 2])
    return False


def _is_slow_png(data: bytes) -> bool:
    """Hundreds of compressed texts or profiles, of a megabyte each."""
    return sum(data.count(name) for name in (b"zTXt", b"iTXt", b"iCCP")) > 100


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a picture is not refused for faulty metadata
        return 1


def _normalised(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey, which Pillow would cut off at 255.
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (255, 255):
            image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    if profile and image.mode != "L":
        image = _in_srgb(image, profile)
    return image.convert("RGB") if image.mode == "CMYK" else image


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """The colours that the embedded profile means: telephones photograph in Display P3, printers get CMYK."""
    mode = "RGB" if image.mode == "CMYK" else image.mode
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, embedded, _SRGB, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image


def _fit(image: Image.Image, longest: int) -> Image.Image:
    """Scaled down to this longest side; never up."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # First to four times the size by averaging, which is many times faster and not to be seen.
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=4.0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    return opaque


def _encode(image: Image.Image, *, photograph: bool) -> Rendering:
    """PNG with transparency, and for what it packs better than JPEG, as drawings and screenshots; else JPEG.

    Transparency that would take more bytes than an upload may have becomes white.
    """
    if image.mode == "RGBA":
        png = _png(image, MAX_BYTES)
        if png is None:
            return _encode(_on_white(image), photograph=True)
        return Rendering(png, "image/png", *image.size)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    jpeg = file.getvalue()
    png = None if photograph else _png(image, len(jpeg))
    return Rendering(jpeg, "image/jpeg", *image.size) if png is None else Rendering(png, "image/png", *image.size)


class _TooLong(Exception):
    pass


class _ShortFile(io.BytesIO):
    """Stops its writer at a number of bytes."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self._left = longest

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._left -= len(data)
        if self._left < 0:
            raise _TooLong
        return super().write(data)


def _png(image: Image.Image, longest: int) -> bytes | None:
    """None, soon, if it would have more bytes than `longest`."""
    file = _ShortFile(longest)
    try:
        image.save(file, "PNG")
    except _TooLong:
        return None
    return file.getvalue()
