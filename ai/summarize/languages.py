"""Recognizes names of languages: a tag of BCP 47, or a name in any script. Pure."""

from __future__ import annotations

import regex

MAX_LANGUAGE_CHARACTERS = 100
# A name goes into the prompt unchanged, so it must be too short for an instruction.
MAX_NAME_CHARACTERS = 40

# The grammar of RFC 5646, section 2.1: a looser one has room for an instruction. Phones also write `_` instead of `-`.
_TAG = regex.compile(
    r"""
    (?:
        (?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})     # language, extended language
        (?:-[a-z]{4})?                                  # script
        (?:-(?:[a-z]{2}|\d{3}))?                        # region
        (?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*             # variants
        (?:-[a-wyz\d](?:-[a-z\d]{2,8})+)*               # extensions
        (?:-x(?:-[a-z\d]{1,8})+)?                       # private use
        |x(?:-[a-z\d]{1,8})+
        |en-gb-oed|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)|sgn-(?:be-fr|be-nl|ch-de)
    )
    """,
    regex.ASCII | regex.IGNORECASE | regex.VERBOSE,
)
# Words and additions in brackets: `N'Ko`, `Catalan; Valencian`, `Greek, Modern (1453-)`, `!Xóõ`.
_WORD = r"\p{L}[\p{L}\p{M}\p{Nd}\u200c\u200d\u0f0b]*"
_NAME = regex.compile(
    rf"[!'’]?{_WORD}(?:(?:[ '’‘·・、]|[,،;] ?| ?[-–/] ?){_WORD})*['’‘]?"
    r"(?: ?[(（][\p{L}\p{M}\p{Nd}\u200c\u200d\u0f0b &.,،;、/'’‘–-]+[)）])?"
)


def is_language(text: str) -> bool:
    """Whether a text has the form of a tag or of a name; the language need not exist."""
    return bool(_TAG.fullmatch(text.replace("_", "-")) or (len(text) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(text)))
