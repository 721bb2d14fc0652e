"""Titles made from what was said: one line, without the Markdown around it."""

from __future__ import annotations

import re

from edgechat.graphemes import cut

MAX_TITLE_CHARACTERS = 80
# So much is looked at: marks that end later are no marks around a title.
_READ_CHARACTERS = 400

# Lines that have nothing but marks: fences, rules, and what makes the line above a heading.
_MARKS_ONLY = re.compile(r"^[ \t]*(?:(?:`{3,}|~{3,})[^`\n]*|[-=*_](?:[ \t]*[-=*_]){2,}[ \t]*)$", re.MULTILINE)
_LEADING = re.compile(r"(?:>|[-*+•](?:\s+\[[ xX]\])?|1[.)]|#{1,6})(?:\s+|$)")
_CLOSING_HASHES = re.compile(r"\s+#+$")
_LABEL = re.compile(r"[*_]*(?:title|titel|titre|t[íi]tulo|titolo)[*_]*\s*[:：][*_]*\s*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_NAME = re.compile(r"__[a-z0-9]+(?:_+[a-z0-9]+)*__")
_PAIRS = [
    *((mark, mark) for mark in ("***", "**", "*", "___", "__", "_", "~~", "```", "``", "`", '"', "'")),
    *("“”", "„“", "””", "‘’", "«»", "»«", "‹›", "「」", "『』", "《》"),
]
# Strong words within what is emphasized.
_STRONG = re.compile(r"\*\*[^*]+\*\*|__[^_]+__")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")


def provisional_title(question: str) -> str:
    """What a conversation is called by its first message, until the model has found a title."""
    return title_of_question(question) or "Conversation"


def title_of_question(question: str) -> str:
    """The beginning of a user's message; empty if it has nothing to show."""
    return _shortened(_bare(question))


def title_of_answer(answer: str) -> str:
    """What a model answered when it was asked for a title, without the word `Title:` in front."""
    bare = _bare(answer)
    label = _LABEL.match(bare)
    if label:
        bare = _bare(bare[label.end() :])
    return _shortened(_ESCAPED.sub(r"\1", bare))


def _bare(text: str) -> str:
    """On one line, without the marks around all of it; `C#`, `*args` and `__init__` are no such marks."""
    line = cut(" ".join(_MARKS_ONLY.sub("", text).split()), _READ_CHARACTERS)
    while True:
        inner = line
        if leading := _LEADING.match(inner):
            inner = inner[leading.end() :]
            if leading[0].startswith("#"):
                inner = _CLOSING_HASHES.sub("", inner)
        inner = _unwrapped(inner)
        if inner == line:
            return line
        line = inner


def _unwrapped(line: str) -> str:
    """Without one pair of marks that goes around all of it."""
    if _NAME.fullmatch(line):
        return line
    for opening, closing in _PAIRS:
        inner = line[len(opening) : -len(closing)]
        if line == opening + inner + closing and inner.strip():
            between = _APOSTROPHE.sub("", _STRONG.sub("", inner) if opening in ("*", "_") else inner)
            if opening not in between and closing not in between:
                return inner.strip()
    return line


def _shortened(line: str) -> str:
    if len(line) <= MAX_TITLE_CHARACTERS:
        return line
    beginning = cut(line, MAX_TITLE_CHARACTERS - 1)
    words = beginning.rpartition(" ")[0]
    # Where a single word is most of it, or there are no spaces, the word is cut.
    return (words if len(words) > len(beginning) // 2 else beginning) + "…"
