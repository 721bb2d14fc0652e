"""Answers about pictures start with the text in the picture: a small model does not repeat it reliably."""

import re
from collections.abc import Sequence

from edgechat.local.model_server.pictures import Reading

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


def words_of(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def rows_asked_for(question: str, rows: Sequence[str]) -> list[str]:
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
        asked = rows_asked_for(question, reading.rows)
        whole = "\n".join(reading.rows)
        if asked and len(asked) < len(reading.rows):
            quoted = ", ".join(f"“{row}”" for row in asked)
            parts.append(f"{name} says {quoted}.\n\nAll that is written there:\n{whole}")
        else:
            parts.append(f"{name} says:\n{whole}")
    return "\n\n".join(parts)


def is_answered_by_quoting(question: str, readings: Sequence[Reading]) -> bool:
    """True if the quotation is the answer, and more words could only contradict it."""
    if not any(reading.rows for reading in readings):
        return True
    if not words_of(question) or READING_WORDS & set(words_of(question)):
        return True
    return any(rows_asked_for(question, reading.rows) for reading in readings)


def picture_context(readings: Sequence[Reading]) -> str:
    """The description of the pictures for the model, which precedes the user's own text."""
    parts = []
    for reading in readings:
        text = "\n".join(reading.rows)
        parts.append(f"[A picture with this text on it:\n{text}]" if text else f"[{reading.description()}]")
    return "\n".join(parts)
