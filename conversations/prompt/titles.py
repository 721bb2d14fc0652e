"""Titles made from messages: one line, without the surrounding Markdown."""

from __future__ import annotations

import re

from edgechat.graphemes import cut

MAX_TITLE_CHARACTERS = 80
# The number of characters that are examined; a closing mark after them is ignored.
_READ_CHARACTERS = 400

# Lines that contain only marks: fences, rules, and underlines of headings.
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
# Strong words within an emphasized text.
_STRONG = re.compile(r"\*\*[^*]+\*\*|__[^_]+__")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")


def provisional_title(question: str) -> str:
    """The title made from a conversation's first message, used until the model has generated one."""
    return title_of_question(question) or "Conversation"


def title_of_question(question: str) -> str:
    """The beginning of a user's message; empty if the message contains only marks."""
    return _shortened(_bare(question))


def title_of_answer(answer: str) -> str:
    """The title in a model's answer, without a leading `Title:`; empty if the answer is longer than a title."""
    bare = _bare(answer)
    label = _LABEL.match(bare)
    if label:
        bare = _bare(bare[label.end() :])
    title = _ESCAPED.sub(r"\1", bare)
    return title if len(title) <= MAX_TITLE_CHARACTERS else ""


def _bare(text: str) -> str:
    """The text on one line, without the marks around it; `C#`, `*args` and `__init__` keep their marks."""
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
    """The line without one pair of marks around all of it."""
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
    # A word is cut if it is more than half of the title, or if there are no spaces.
    return (words if len(words) > len(beginning) // 2 else beginning) + "…"
