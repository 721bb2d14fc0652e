"""What a text model can say about a picture: its size, its colours, and the text in it.

Answers start with that text, because a small model does not repeat it reliably.
"""

import importlib
import io
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

MAX_SIDE_PIXELS = 2000
MAX_PIXELS = 100_000_000
COLOUR_SIDE_PIXELS = 64
MIN_COLOUR_SHARE = 0.08
MAX_COLOURS = 3
MIN_SCORE = 0.5
KEPT_READINGS = 64
# Boxes form one row if the distance of their middles is less than this share of their height.
SAME_ROW = 0.6

WORD = re.compile(r"[^\W_]+")
DIGIT = re.compile(r"\d")
# Question words that stand for any of several words on a bill.
AMOUNT_WORDS = frozenset({"total", "sum", "amount", "due", "balance", "pay", "owe", "price", "cost"})
READING_WORDS = frozenset(
    {"say", "says", "said", "read", "reads", "written", "text", "transcribe", "ocr", "write", "words"}
)
COMMON_WORDS = frozenset(
    {"a", "an", "and", "any", "are", "at", "be", "by", "can", "could", "did", "do", "does", "for", "from", "give"}
    | {"has", "have", "how", "i", "image", "in", "is", "it", "its", "me", "much", "many", "my", "of", "on", "or"}
    | {"photo", "picture", "please", "receipt", "s", "show", "shown", "tell", "that", "the", "there", "these", "this"}
    | {"those", "to", "was", "were", "what", "when", "where", "which", "who", "will", "with", "would", "you", "your"}
)

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (220, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 40),
    "green": (40, 160, 60),
    "cyan": (60, 200, 210),
    "blue": (40, 80, 210),
    "purple": (130, 50, 170),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
    "beige": (230, 210, 170),
}


class UnreadablePicture(Exception):
    """The bytes are no picture that can be decoded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Size in px, the main colours by share, the rows of text from top to bottom. `can_read` is False without OCR."""

    width: int
    height: int
    colours: tuple[str, ...]
    rows: tuple[str, ...]
    can_read: bool

    def description(self) -> str:
        """A sentence for a picture without text."""
        colours = " and ".join([", ".join(self.colours[:-1]), self.colours[-1]] if self.colours[1:] else self.colours)
        text = "I found no text on it." if self.can_read else "Reading text on pictures is not installed here."
        return f"The picture is {self.width} x {self.height} pixels, mostly {colours}. {text}"


class PictureReader:
    """Reads pictures, one at a time, and caches the latest readings: chats send the same picture with every message."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Any = None
        self._engine_tried = False
        self._readings: OrderedDict[bytes, Reading] = OrderedDict()

    def read(self, data: bytes) -> Reading:
        """Read a picture. Blocks for about a second. Raises UnreadablePicture."""
        key = sha256(data).digest()
        with self._lock:
            reading = self._readings.get(key)
            if reading is None:
                reading = self._readings[key] = self._read(data)
            self._readings.move_to_end(key)
            if len(self._readings) > KEPT_READINGS:
                self._readings.popitem(last=False)
            return reading

    def _read(self, data: bytes) -> Reading:
        try:
            from PIL import Image, ImageOps
        except ImportError as fault:
            raise UnreadablePicture("Pillow is not installed.") from fault
        try:
            with Image.open(io.BytesIO(data)) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise UnreadablePicture("The picture has too many pixels.")
                upright = ImageOps.exif_transpose(opened)
                # Text on a transparent background is nearly always dark.
                clear = upright.convert("RGBA")
                image = Image.new("RGB", clear.size, "white")
                image.paste(clear, mask=clear.getchannel("A"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
            raise UnreadablePicture("The picture can't be decoded.") from fault
        width, height = image.size
        colours = main_colours(image)
        image.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
        rows = self._read_rows(image)
        return Reading(width, height, colours, tuple(rows or ()), rows is not None)

    def _read_rows(self, image: Any) -> list[str] | None:
        """The rows of text; None if OCR is not installed or failed."""
        if not self._engine_tried:
            self._engine_tried = True
            try:
                self._engine = importlib.import_module("rapidocr_onnxruntime").RapidOCR()
            except (ImportError, OSError, RuntimeError) as fault:
                print(f"Text on pictures can't be read: {fault}", file=sys.stderr, flush=True)
        if self._engine is None:
            return None
        numpy: Any = importlib.import_module("numpy")
        try:
            # The engine takes arrays in OpenCV's order, blue first.
            found, _ = self._engine(numpy.ascontiguousarray(numpy.asarray(image)[:, :, ::-1]))
        except Exception as fault:
            # Three native libraries may raise anything. The picture still gets its description.
            print(f"Reading a picture failed: {fault!r}", file=sys.stderr, flush=True)
            return None
        return rows_of([(box, text) for box, text, score in found or [] if float(score) >= MIN_SCORE])


def rows_of(boxes: list[tuple[list[list[float]], str]]) -> list[str]:
    """Texts side by side, joined to rows from top to bottom. A box is four corners (x, y) in px."""
    rows: list[list[tuple[float, float, float, str]]] = []
    for corners, text in sorted(boxes, key=lambda entry: middle(entry[0])):
        ys = [y for _, y in corners]
        left, height = min(x for x, _ in corners), max(ys) - min(ys)
        if rows and abs(middle(corners) - rows[-1][0][1]) < SAME_ROW * min(height, rows[-1][0][2]):
            rows[-1].append((left, middle(corners), height, text))
        else:
            rows.append([(left, middle(corners), height, text)])
    return [" ".join(text for _, _, _, text in sorted(row)) for row in rows]


def middle(corners: list[list[float]]) -> float:
    ys = [y for _, y in corners]
    return (min(ys) + max(ys)) / 2


def main_colours(image: Any) -> tuple[str, ...]:
    """The names of up to three colours that each cover a twelfth of the picture, the largest first. Never empty."""
    small = image.resize((COLOUR_SIDE_PIXELS, COLOUR_SIDE_PIXELS))
    counts = dict.fromkeys(COLOURS, 0)
    for count, (red, green, blue) in small.getcolors(COLOUR_SIDE_PIXELS**2):
        nearest = min(COLOURS, key=lambda name: distance(COLOURS[name], (red, green, blue)))
        counts[nearest] += count
    ranked = sorted(COLOURS, key=lambda name: -counts[name])
    large = [name for name in ranked if counts[name] >= MIN_COLOUR_SHARE * COLOUR_SIDE_PIXELS**2]
    return tuple((large or ranked[:1])[:MAX_COLOURS])


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def words_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def matching_rows(question: str, rows: Sequence[str]) -> list[str]:
    """The rows with most of the question's words; for an amount, only rows with a number. Empty if no row has any."""
    words = {word for word in words_of(question) if word not in COMMON_WORDS | READING_WORDS}
    scores = [len(words & set(words_of(row))) for row in rows]
    if not any(scores) and words & AMOUNT_WORDS:
        scores = [len(AMOUNT_WORDS & set(words_of(row))) for row in rows]
    best = max(scores, default=0)
    found = [row for row, score in zip(rows, scores, strict=True) if best and score == best]
    if words & AMOUNT_WORDS or "much" in words_of(question):
        found = [row for row in found if DIGIT.search(row)] or found
    return found


def quotation(question: str, readings: Sequence[Reading]) -> str:
    """The start of the answer: the requested rows, then all the text; a description if the picture has no text."""
    parts = []
    for index, reading in enumerate(readings):
        name = "The picture" if len(readings) == 1 else f"Picture {index + 1}"
        if not reading.rows:
            parts.append(reading.description().replace("The picture", name, 1))
            continue
        matching = matching_rows(question, reading.rows)
        whole = "\n".join(reading.rows)
        if matching and len(matching) < len(reading.rows):
            quoted = ", ".join(f"“{row}”" for row in matching)
            parts.append(f"{name} says {quoted}.\n\nAll that is written there:\n{whole}")
        else:
            parts.append(f"{name} says:\n{whole}")
    return "\n\n".join(parts)


def is_answered_by_quoting(question: str, readings: Sequence[Reading]) -> bool:
    """True if the quoted text is the whole answer, so that the model is not asked."""
    if not any(reading.rows for reading in readings):
        return True
    if not words_of(question) or READING_WORDS & set(words_of(question)):
        return True
    return any(matching_rows(question, reading.rows) for reading in readings)


def picture_context(readings: Sequence[Reading]) -> str:
    """The description of the pictures for the model, which precedes the user's own text."""
    parts = []
    for reading in readings:
        text = "\n".join(reading.rows)
        parts.append(f"[A picture with this text on it:\n{text}]" if text else f"[{reading.description()}]")
    return "\n".join(parts)
