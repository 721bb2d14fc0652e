"""Checking and re-encoding uploaded pictures."""

from __future__ import annotations

import hashlib
import io
import itertools
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageDraw, ImageOps, ImageStat, PngImagePlugin

from ai.vision.pictures import Picture, Rendering, read_picture
from edgechat.errors import ApiError

ACCEPTED = "accepted: image/jpeg, image/png, image/webp, image/gif, image/heic, image/heif"
OTHER_TYPE = (415, "unsupported_type", f"Unsupported media type; {ACCEPTED}")
DAMAGED = (415, "unsupported_type", f"The picture is damaged or incomplete; {ACCEPTED}")
TOO_MANY_BYTES = (413, "too_large", "A picture may have 10 MB at most")
TOO_MANY_PIXELS = (413, "too_large", "A picture may have 40 megapixels and 65500 pixels a side at most")

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "HEIF"]
pillow_heif.register_heif_opener()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">secret-xmp</x:xmpmeta>'
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 160, 30), (30, 30, 220), (220, 220, 30)

# Pillow warns about files that it can read nevertheless.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def read(data: bytes) -> Picture:
    return read_picture(io.BytesIO(data))


def outcome(data: bytes) -> Picture | tuple[int, str, str]:
    """The picture, or the status, code and text of the error."""
    try:
        return read(data)
    except ApiError as error:
        return error.status, error.code, error.detail


def renderings(picture: Picture) -> tuple[Rendering, Rendering, Rendering]:
    return picture.stored, picture.for_model, picture.thumbnail


def opened(rendering: Rendering) -> Image.Image:
    image = Image.open(io.BytesIO(rendering.data), formats=["JPEG", "PNG"])
    image.load()
    assert (Image.MIME[image.format or ""], *image.size) == (rendering.mime_type, rendering.width, rendering.height)
    return image


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners(width: int = 64, height: int = 48) -> Image.Image:
    """A picture of four coloured quarters: red, green / blue, yellow."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for index, colour in enumerate((RED, GREEN, BLUE, YELLOW)):
        left, top = index % 2 * width // 2, index // 2 * height // 2
        draw.rectangle((left, top, left + width // 2, top + height // 2), fill=colour)
    return image


def noise(width: int = 600, height: int = 400) -> Image.Image:
    """A picture that compresses as badly as a photograph."""
    return Image.effect_noise((width, height), 20).convert("RGB")


def assert_alike(one: Image.Image, other: Image.Image, tolerance: float = 12) -> None:
    assert one.size == other.size
    difference = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    assert max(difference.mean) <= tolerance


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def black_png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG with one bit per pixel, with additional chunks before the pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# --- What comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_each_type_gives_its_pixels(kind: str) -> None:
    picture = read(file_of(corners(), kind))
    for rendering in renderings(picture):
        assert_alike(opened(rendering), corners())
    assert picture.sha256 == hashlib.sha256(picture.stored.data).hexdigest()


def test_the_copies_are_scaled_down_to_1568_and_256_pixels_on_the_longest_side() -> None:
    picture = read(file_of(corners(4000, 3000), "JPEG"))
    sizes = [(rendering.width, rendering.height) for rendering in renderings(picture)]
    assert sizes == [(4000, 3000), (1568, 1176), (256, 192)]
    assert_alike(opened(picture.thumbnail), corners(256, 192))


def test_a_line_of_one_pixel_keeps_its_pixel() -> None:
    picture = read(black_png(1, 5000))
    assert [(r.width, r.height) for r in renderings(picture)] == [(1, 5000), (1, 1568), (1, 256)]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_upload_gives_the_same_bytes(kind: str) -> None:
    data = file_of(noise(), kind)
    assert read(data) == read(data)


def test_name_declared_type_and_position_of_the_upload_do_not_count() -> None:
    file = SimpleUploadedFile("page.html", file_of(corners(), "PNG"), content_type="text/html")
    file.seek(30)
    assert_alike(opened(read_picture(file).stored), corners(), 0)


@pytest.mark.parametrize("kind", ["JPEG", "HEIF"])
def test_a_photograph_becomes_a_jpeg_even_where_it_is_of_one_colour(kind: str) -> None:
    picture = read(file_of(Image.new("RGB", (300, 200), RED), kind))
    assert {rendering.mime_type for rendering in renderings(picture)} == {"image/jpeg"}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_a_drawing_becomes_a_png_and_loses_nothing(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read(file_of(corners(), kind, **options))
    assert picture.stored.mime_type == "image/png"
    assert_alike(opened(picture.stored), corners(), 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_photograph_in_a_png_or_webp_becomes_a_jpeg(kind: str) -> None:
    image = noise()
    picture = read(file_of(image, kind))
    assert picture.stored.mime_type == "image/jpeg"
    assert_alike(opened(picture.stored), image)


# --- Orientation, modes, colours -------------------------------------------------------------------------------------


def test_a_telephone_held_upright_gives_an_upright_picture() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = opened(read(file_of(corners(64, 48), "JPEG", exif=exif)).stored)
    assert image.size == (48, 64)
    found = [image.getpixel(point) for point in ((8, 8), (40, 8), (8, 56), (40, 56))]
    for pixel, colour in zip(found, (BLUE, RED, YELLOW, GREEN), strict=True):
        assert isinstance(pixel, tuple)
        assert all(abs(one - other) < 12 for one, other in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(("kind", "orientation"), list(itertools.product(["JPEG", "PNG", "WEBP", "HEIF"], range(1, 9))))
def test_the_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    expected = corners()
    expected.info["exif"] = exif.tobytes()
    # HEIC also stores the rotation itself, and readers use it instead of EXIF.
    for rendering in renderings(read(file_of(corners(), kind, exif=exif.tobytes()))):
        assert_alike(opened(rendering), ImageOps.exif_transpose(expected))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0II*\0"]
)
def test_faulty_exif_does_not_matter(exif: bytes) -> None:
    assert_alike(opened(read(file_of(corners(), "JPEG", exif=exif)).stored), corners())


def test_an_orientation_that_does_not_exist_does_not_matter() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 77
    assert_alike(opened(read(file_of(corners(), "JPEG", exif=exif)).stored), corners())


def half_transparent() -> Image.Image:
    image = corners().convert("RGBA")
    image.paste((255, 0, 255, 0), (0, 0, 32, 48))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_kept_but_for_the_model_which_sees_white(kind: str) -> None:
    picture = read(file_of(half_transparent(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    for rendering in (picture.stored, picture.thumbnail):
        image = opened(rendering)
        assert (rendering.mime_type, image.mode) == ("image/png", "RGBA")
        alpha = image.getchannel("A")
        assert (alpha.getpixel((5, 5)), alpha.getpixel((60, 5))) == (0, 255)
    for_model = opened(picture.for_model)
    assert (for_model.mode, for_model.getpixel((5, 5)), for_model.getpixel((60, 5))) == ("RGB", (255, 255, 255), GREEN)


def test_a_gif_keeps_its_transparency() -> None:
    image = opened(read(file_of(half_transparent(), "GIF")).stored)
    assert (image.mode, image.getchannel("A").getextrema()) == ("RGBA", (0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_without_transparency_is_dropped(mode: str) -> None:
    image = opened(read(file_of(corners().convert(mode), "PNG")).stored)
    assert image.mode == "RGB"
    assert_alike(image, corners().convert(mode), 0)


def test_transparency_that_takes_more_bytes_than_an_upload_becomes_white() -> None:
    """A lossy WebP that is many times larger as a PNG."""
    bands = [Image.effect_noise((2400, 2400), 60) for _ in range(3)]
    image = Image.merge("RGBA", [*bands, Image.new("L", (2400, 2400), 255)])
    image.paste((0, 0, 0, 0), (0, 0, 600, 600))
    stored = read(file_of(image, "WEBP", quality=80, method=0)).stored
    assert stored.mime_type == "image/jpeg"
    assert opened(stored).getpixel((100, 100)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA"])
def test_each_mode_of_a_png_gives_the_same_picture(mode: str) -> None:
    source = corners().convert(mode)
    assert_alike(opened(read(file_of(source, "PNG")).stored), source, 0)


def test_a_palette_with_transparency_is_read() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([*RED, *GREEN, *BLUE, *YELLOW])
    for x in range(4):
        image.putpixel((x, 0), x)
    stored = opened(read(file_of(image, "PNG", transparency=bytes([0, 128, 255, 255]))).stored)
    assert [stored.getpixel((x, 0)) for x in range(4)] == [(*RED, 0), (*GREEN, 128), (*BLUE, 255), (*YELLOW, 255)]


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off() -> None:
    image = Image.new("I;16", (4, 1))
    for x, value in enumerate((0, 0x4000, 0x8000, 0xFFFF)):
        image.putpixel((x, 0), value)
    stored = opened(read(file_of(image, "PNG")).stored)
    assert (stored.mode, [stored.getpixel((x, 0)) for x in range(4)]) == ("L", [0, 64, 128, 255])


def test_a_cmyk_jpeg_is_read() -> None:
    source = corners().convert("CMYK")
    stored = opened(read(file_of(source, "JPEG", quality=95)).stored)
    assert stored.mode == "RGB"
    assert_alike(stored, corners())


def profile_with_red_and_green_swapped() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"xxxx", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"xxxx", b"gXYZ", 1)


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGB")]
)
def test_an_embedded_colour_profile_is_applied(kind: str, mode: str) -> None:
    image = Image.new("RGB", (40, 40), (255, 0, 0)).convert(mode)
    data = file_of(image, kind, icc_profile=profile_with_red_and_green_swapped())
    assert_alike(opened(read(data).stored), Image.new("RGB", (40, 40), (0, 255, 0)), 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("profile", [b"secret-profile", profile_with_red_and_green_swapped()[:200], bytes(3000)])
def test_a_faulty_colour_profile_does_not_matter(mode: str, profile: bytes) -> None:
    image = corners().convert(mode)
    assert_alike(opened(read(file_of(image, "JPEG", icc_profile=profile)).stored), image.convert("RGB"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in (GREEN, BLUE, YELLOW)]
    data = file_of(corners(), kind, save_all=True, append_images=frames)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 4
    assert_alike(opened(read(data).stored), corners())


def test_of_a_jpeg_with_further_pictures_behind_it_the_first_is_taken() -> None:
    data = file_of(corners(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), BLUE)])
    assert_alike(opened(read(data).stored), corners())


# --- What is not kept ------------------------------------------------------------------------------------------------


def secret_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "secret-description"
    exif[ExifTags.Base.Make] = "secret-make"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {ExifTags.GPS.GPSLatitude: (48.0, 12.0, 30.0), ExifTags.GPS.GPSMapDatum: "secret-GPS"}
    )
    return exif


def with_secrets(kind: str, *, profile: bytes | None) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret-text")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    common: dict[str, Any] = {"exif": secret_exif(), "icc_profile": profile}
    options: dict[str, dict[str, Any]] = {
        "JPEG": {**common, "comment": b"secret-comment", "xmp": XMP, "dpi": (123, 123)},
        "PNG": {**common, "pnginfo": text},
        "WEBP": {**common, "xmp": XMP},
        "GIF": {"comment": b"secret-comment"},
        "HEIF": {**common, "xmp": XMP},
    }
    return file_of(corners(), kind, **options[kind]) + b"<script>secret-trailer</script>"


@pytest.mark.parametrize("profile", [None, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_but_the_pixels_is_kept(kind: str, profile: bytes | None) -> None:
    data = with_secrets(kind, profile=profile)
    assert data.count(b"secret") >= (2 if kind == "GIF" else 5)
    for rendering in renderings(read(data)):
        for trace in (
            b"secret",
            b"Exif",
            b"eXIf",
            b"GPS",
            b"xmp",
            b"adobe",
            b"ICC_PROFILE",
            b"iCCP",
            b"tEXt",
            b"script",
        ):
            assert trace not in rendering.data
        assert set(opened(rendering).info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_file_that_is_a_picture_and_a_page_becomes_only_a_picture() -> None:
    image = file_of(corners(), "GIF")
    stored = read(image + b"<html><script>alert(1)</script></html>").stored
    assert stored == read(image).stored
    assert b"script" not in stored.data


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"plain text",
        b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        b"<!doctype html><title>x</title>",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"RIFF\x04\0\0\0WAVE",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
        b"\n" + file_of(corners(), "JPEG"),
        *(file_of(corners(), kind) for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "JPEG2000", "PDF", "EPS", "AVIF")),
    ],
)
def test_any_other_type_is_415(data: bytes) -> None:
    assert outcome(data) == OTHER_TYPE


@pytest.mark.parametrize(
    "start",
    [
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x10\0\0\0WEBP",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x18ftypmif1",
    ],
)
def test_a_page_that_begins_like_a_picture_is_415(start: bytes) -> None:
    assert outcome(start) == DAMAGED
    assert outcome(start + b"<html><script>alert(1)</script></html>" * 20) == DAMAGED


def test_ten_megabytes_are_accepted_and_a_byte_more_is_413() -> None:
    data = file_of(corners(), "JPEG").ljust(10 * 1024 * 1024, b"\0")
    assert_alike(opened(read(data).stored), corners())
    assert outcome(data + b"\0") == TOO_MANY_BYTES


def test_too_many_bytes_of_whatever_type_are_413() -> None:
    assert outcome(bytes(10 * 1024 * 1024 + 1)) == TOO_MANY_BYTES


def test_forty_megapixels_are_accepted_and_a_row_more_is_413() -> None:
    stored = read(black_png(8000, 5000)).stored
    assert (stored.width, stored.height) == (8000, 5000)
    assert outcome(black_png(8000, 5001)) == TOO_MANY_PIXELS


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow itself warns about the first and refuses the second
def test_a_small_file_of_very_many_pixels_is_413(side: int) -> None:
    data = black_png(side, side)
    assert len(data) < 60_000
    assert outcome(data) == TOO_MANY_PIXELS


def test_a_side_of_a_million_pixels_is_413() -> None:
    assert outcome(black_png(1_000_000, 1)) == TOO_MANY_PIXELS


def test_a_gif_with_a_huge_screen_is_413() -> None:
    data = bytearray(file_of(corners(), "GIF"))
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    assert outcome(bytes(data)) == TOO_MANY_PIXELS


def test_a_webp_with_a_huge_canvas_is_413() -> None:
    data = bytearray(file_of(half_transparent(), "WEBP"))
    position = data.index(b"VP8X") + 12
    data[position : position + 6] = struct.pack("<I", 16_000)[:3] * 2
    assert outcome(bytes(data)) == TOO_MANY_PIXELS


def test_a_heic_that_lies_about_its_size_is_415() -> None:
    data = bytearray(file_of(corners(2000, 2000), "HEIF"))
    position = data.index(b"ispe") + 8
    data[position : position + 8] = struct.pack(">II", 100, 100)
    assert outcome(bytes(data)) == DAMAGED


BOMB = zlib.compress(bytes(60_000_000), 9)


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"zTXt", b"Comment\0\0" + BOMB),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"profile\0\0" + BOMB),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(1_000_000), 9)) * 5000,
    ],
    ids=["text", "international text", "profile", "profiles"],
)
def test_a_png_whose_metadata_unpacks_to_very_much_is_415(metadata: bytes) -> None:
    assert outcome(black_png(8, 8, metadata)) == DAMAGED


def test_a_jpeg_of_a_thousand_scans_is_415() -> None:
    data = file_of(corners(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert outcome(data[:last] + data[last:-2] * 1000 + b"\xff\xd9") == DAMAGED
    assert_alike(opened(read(data[:last] + data[last:-2] * 50 + b"\xff\xd9").stored), corners())


def test_a_jpeg_of_very_many_segments_is_415() -> None:
    data = file_of(corners(), "JPEG")
    exif = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + b"a" * 10
    assert outcome(data[:2] + exif * 500_000 + data[2:]) == DAMAGED


def test_a_jpeg_of_nothing_but_padding_is_415() -> None:
    assert outcome(b"\xff\xd8".ljust(1_000_000, b"\xff") + b"\0") == DAMAGED


def test_a_film_behind_a_jpeg_does_not_matter() -> None:
    """Phones append the film of a motion photograph, and its bytes can look like any marker."""
    assert_alike(opened(read(file_of(corners(), "JPEG") + b"\xff\xda\0\x08" * 1000).stored), corners())


@pytest.mark.parametrize("kind", FORMATS)
def test_half_a_file_is_415(kind: str) -> None:
    data = file_of(noise(), kind)
    assert outcome(data[: len(data) // 2]) == DAMAGED


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_is_415_or_lacks_none_of_its_pixels(kind: str) -> None:
    data = file_of(corners(), kind)
    outcomes = [outcome(data[:end]) for end in range(0, len(data), 5)]
    whole = read(data)
    assert [made for made in outcomes if made not in (whole, OTHER_TYPE, DAMAGED)] == []
    assert outcomes.count(DAMAGED) > len(outcomes) * 0.8


WHOLE = {kind: file_of(corners(), kind) for kind in FORMATS}


@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=4),
)
def test_whatever_bytes_are_changed_it_is_a_picture_or_415_or_413(kind: str, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(WHOLE[kind])
    for position, put in changes:
        at = position % len(data)
        data[at : at + len(put)] = put
    made = outcome(bytes(data))
    if isinstance(made, Picture):
        for rendering in renderings(made):
            opened(rendering)
    else:
        assert made in (OTHER_TYPE, DAMAGED, TOO_MANY_PIXELS)


# --- During other requests -------------------------------------------------------------------------------------------

UNDER_GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import io
import sys
import django
from django.conf import settings
settings.configure(DATABASES={})
django.setup()
from ai.vision.pictures import read_picture
from edgechat.errors import UnsupportedType
from PIL import Image

file = io.BytesIO()
Image.effect_noise((4000, 3000), 50).save(file, "JPEG")
turns = 0

def others():
    global turns
    while True:
        gevent.sleep(0.001)
        turns += 1

def read(data):
    try:
        return read_picture(io.BytesIO(data)).sha256
    except UnsupportedType as error:
        return error.status

other = gevent.spawn(others)
readers = [gevent.spawn(read, data) for data in (file.getvalue(), file.getvalue(), file.getvalue()[:9000])]
gevent.joinall(readers, raise_error=True)
one, same, cut = (reader.value for reader in readers)
print(one == same, cut, turns > 20)
"""


def test_under_gevent_others_have_their_turn_and_a_refusal_prints_nothing() -> None:
    command = [sys.executable, "-c", UNDER_GEVENT]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["True 415 True"], "")
