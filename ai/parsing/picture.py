"""Re-encodes pictures from their pixels."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

import pillow_heif
from PIL import ExifTags, Image, ImageCms, WebPImagePlugin  # noqa: F401

from ai.parsing.limits import MAX_PICTURE_BYTES, MAX_PIXELS, MAX_SIDE, MODEL_SIDE, THUMBNAIL_SIDE

JPEG_QUALITY = 88

# Pillow imports its plugins on first use: these are all that are needed.
Image.preinit()
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)

# The end of a section of compressed JPEG data: a marker that is neither a stuffed zero nor a restart.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")

_SRGB = ImageCms.createProfile("sRGB")

# How to rotate or mirror a picture upright, by the value of EXIF's Orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_Rendering = tuple[dict[str, Any], bytes]  # "mime_type", "width" and "height"; the file's bytes


class _TooManyPixels(Exception):
    pass


def prepare() -> None:
    """Does nothing: everything is loaded with this module."""


def run(arguments: dict[str, Any], data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """`{"renderings", "sha256"}` and a file for each rendering: the full size, the model's and the thumbnail.

    A rendering is `{"mime_type", "width", "height"}`; `sha256` is the first file's hexadecimal digest. For a picture
    with too many pixels, `{"refused": "pixels"}` and no files. `arguments` has the `kind`, Pillow's name of the type.
    Raises anything that Pillow and its libraries raise for a damaged file.
    """
    kind = arguments["kind"]
    try:
        image = _decode(data, kind)
    except (_TooManyPixels, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return {"refused": "pixels"}, []
    del data
    photograph = kind in {"JPEG", "HEIF"}
    stored = _encode(image, photograph=photograph)
    image = _fit(image, MODEL_SIDE)
    # On white, because a model may see the colours of transparent pixels, which people cannot see.
    for_model = _encode(_on_white(image), photograph=photograph)
    thumbnail = _encode(_fit(image, THUMBNAIL_SIDE), photograph=photograph)
    made = (stored, for_model, thumbnail)
    result = {"renderings": [rendering for rendering, _ in made], "sha256": hashlib.sha256(stored[1]).hexdigest()}
    return result, [data for _, data in made]


def _decode(data: bytes, kind: str) -> Image.Image:
    """The pixels, upright, as L or RGB, or as RGBA if any pixel is transparent."""
    if (kind == "JPEG" and _is_slow_jpeg(data)) or (kind == "PNG" and _is_slow_png(data)):
        raise ValueError("made to take long")
    image: Image.Image = Image.open(io.BytesIO(data), formats=[kind])
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise _TooManyPixels
    image.load()
    upright = _UPRIGHT.get(_orientation(image))
    profile = image.info.get("icc_profile")
    if upright is not None:
        image = image.transpose(upright)
    image = _normalised(image, profile)
    # Pillow would write some of the metadata into new files.
    image.info.clear()
    return image


def _is_slow_jpeg(data: bytes) -> bool:
    """Whether a JPEG takes minutes: hundreds of scans, where encoders write ten, or thousands of segments."""
    position, segments, scans = 2, 0, 0
    while (marker := _MARKER.search(data, position)) and marker[1] != b"\xd9":
        segments += 1
        scans += marker[1] == b"\xda"
        if segments > 2000 or scans > 100:
            return True
        position = marker.end()
        if marker[1] not in b"\x01\xd8":  # all other markers have a length
            position += int.from_bytes(data[position : position + 2])
    return False


def _is_slow_png(data: bytes) -> bool:
    """Whether a PNG has hundreds of compressed texts or profiles, of a megabyte each."""
    return sum(data.count(name) for name in (b"zTXt", b"iTXt", b"iCCP")) > 100


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # faulty metadata is no reason to refuse a picture
        return 1


def _normalised(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow would clip at 255.
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
    """Convert colours by the embedded profile: phones take photographs in Display P3, and print files use CMYK."""
    mode = "RGB" if image.mode == "CMYK" else image.mode
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, embedded, _SRGB, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image


def _fit(image: Image.Image, longest: int) -> Image.Image:
    """The picture scaled down to this longest side; never up."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Averaging to four times the size first is many times faster, without a visible difference.
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=4.0)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    return opaque


def _encode(image: Image.Image, *, photograph: bool) -> _Rendering:
    """PNG for transparency and where it is smaller than JPEG, as for drawings and screenshots; otherwise JPEG.

    If the PNG exceeds the upload limit, transparency becomes white.
    """
    if image.mode == "RGBA":
        png = _png(image, MAX_PICTURE_BYTES)
        if png is None:
            return _encode(_on_white(image), photograph=True)
        return _rendering(png, "image/png", image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    jpeg = file.getvalue()
    png = None if photograph else _png(image, len(jpeg))
    return _rendering(jpeg, "image/jpeg", image) if png is None else _rendering(png, "image/png", image)


def _rendering(data: bytes, mime_type: str, image: Image.Image) -> _Rendering:
    return {"mime_type": mime_type, "width": image.width, "height": image.height}, data


class _TooLong(Exception):
    pass


class _ShortFile(io.BytesIO):
    """Stops its writer after a number of bytes."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self._left = longest

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._left -= len(data)
        if self._left < 0:
            raise _TooLong
        return super().write(data)


def _png(image: Image.Image, longest: int) -> bytes | None:
    """The PNG; None, as soon as it exceeds `longest` bytes."""
    file = _ShortFile(longest)
    try:
        image.save(file, "PNG")
    except _TooLong:
        return None
    return file.getvalue()
