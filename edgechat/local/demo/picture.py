"""The picture in Ada's conversation: a receipt, drawn here."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

LINES = (
    ("HARDWARE & PAINT", ""),
    ("12 Quay Street", ""),
    ("", ""),
    ("Wall paint white 5 l", "34.90"),
    ("Primer 1 l", "12.50"),
    ("Brushes, set of 3", "8.20"),
    ("Masking tape", "3.60"),
    ("", ""),
    ("TOTAL", "59.20"),
    ("", ""),
    ("Thank you!", ""),
)


def draw_receipt() -> io.BytesIO:
    """A PNG file."""
    width, height, margin, step = 640, 780, 60, 60
    image = Image.new("RGB", (width, height), "#d8d3c8")
    draw = ImageDraw.Draw(image)
    draw.rectangle((24, 20, width - 24, height - 20), fill="#fdfcf8", outline="#b9b4a8")
    font = ImageFont.load_default(size=32)
    for number, (text, price) in enumerate(LINES):
        y = margin + number * step
        draw.text((margin, y), text, fill="#222222", font=font)
        draw.text((width - margin, y), price, fill="#222222", font=font, anchor="ra")
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    return file
