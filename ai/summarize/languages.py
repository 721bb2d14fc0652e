"""Recognizes names of languages: a tag of BCP 47, or a name in any script. Pure."""

from __future__ import annotations

import regex

MAX_LANGUAGE_CHARACTERS = 100
# A name goes into the prompt unchanged, so it must be too short for an instruction.
MAX_NAME_CHARACTERS = 40

# The form of a tag in RFC 5646, without the order of its parts. Phones also write `_` instead of `-`.
_TAG = regex.compile(r"[a-z]{1,8}([-_][a-z\d]{1,8})*", regex.ASCII | regex.IGNORECASE)
# Words and additions in brackets: `N'Ko`, `Catalan; Valencian`, `Greek, Modern (1453-)`, `!Xóõ`.
_WORD = r"\p{L}[\p{L}\p{M}\p{Nd}\u200c\u200d\u0f0b]*"
_NAME = regex.compile(
    rf"[!'’]?{_WORD}(?:(?:[ '’‘·・、]|[,،;] ?| ?[-–/] ?){_WORD})*['’‘]?"
    r"(?: ?[(（][\p{L}\p{M}\p{Nd}\u200c\u200d\u0f0b &.,،;、/'’‘–-]+[)）])?"
)


def is_language(text: str) -> bool:
    """Whether a text has the form of a tag or of a name; the language need not exist."""
    return bool(_TAG.fullmatch(text) or (len(text) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(text)))
