"""Equality of texts in searches: letters are equal regardless of their case and Unicode form.

Texts are compared in folded form: full case folding (`ß` is `ss`), then NFC, because phones send accents both composed
and decomposed. MongoDB cannot fold, so it searches with a regular expression of all spellings, and its results are
compared here.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

import regex

from edgechat.graphemes import last_boundary
from edgechat.processes.threads import Pauses

_PIECE = 2000  # characters; about a millisecond of work
_CLUSTER = regex.compile(r"\X")

# The blocks of all characters that fold to other characters, without Hangul, which is composed by rule.
_FOLDING_BLOCKS = ((0x41, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000), (0x10400, 0x1EA00), (0x2F800, 0x2FA20))
_DOTTED_I = "i\u0307"
# Longer runs of letters that can be written as combined characters are matched approximately.
_MAX_TOGETHER = 6


def fold(text: str) -> str:
    """The folded form of a short text."""
    # The Turkish dotless i becomes i too, and `İ` becomes i without the combining dot that case folding leaves.
    folded = unicodedata.normalize("NFD", text).casefold().replace(_DOTTED_I, "i").replace("ı", "i")
    return unicodedata.normalize("NFC", folded)


class FoldedText:
    """A text of any length that can be searched for folded words. Folding pauses for other threads."""

    def __init__(self, text: str) -> None:
        self._text = text
        pieces: list[str] = []
        self._starts, self._folded_starts = [0], [0]
        pauses = Pauses()
        while (start := self._starts[-1]) < len(text):
            pauses.pause()
            end = last_boundary(text, start + _PIECE)
            pieces.append(fold(text[start:end]))
            self._starts.append(end)
            self._folded_starts.append(self._folded_starts[-1] + len(pieces[-1]))
        self._folded = "".join(pieces)

    def find(self, word: str) -> tuple[int, int] | None:
        """Start and end, in the original text, of the first match of a folded word; None without a match."""
        index = self._folded.find(word)
        if index < 0:
            return None
        return self._cluster_at(index)[0], self._cluster_at(index + len(word) - 1)[1]

    def _cluster_at(self, folded_index: int) -> tuple[int, int]:
        piece = bisect_right(self._folded_starts, folded_index) - 1
        start, passed = self._starts[piece], self._folded_starts[piece]
        for match in _CLUSTER.finditer(self._text[start : self._starts[piece + 1]]):
            passed += len(fold(match.group()))
            if passed > folded_index:
                break
        return start + match.start(), start + match.end()


def pattern_of(folded: str) -> str:
    """A regular expression that matches every text that contains this folded text, and few others."""
    units = _units(folded)
    singles = [_single(unit) for unit in units]
    together = _together(units)
    for span in [span for span in together if span.end - span.start == 1]:
        together.remove(span)
        singles[span.start] = f"(?:{singles[span.start]}|{span.character})"
    pattern, start = "", 0
    while start < len(units):
        end, taken = start + 1, []
        for span in together:  # in the order of their starts
            if start <= span.start < end:
                taken.append(span)
                end = max(end, span.end)
        if not taken:
            pattern += singles[start]
        elif end - start <= _MAX_TOGETHER:
            pattern += f"(?:{'|'.join(_tilings(start, end, singles, taken))})"
        else:
            any_of = "|".join(sorted({*singles[start:end], *(span.character for span in taken)}))
            pattern += f"(?:{any_of}){{{(end - start + 2) // 3},{end - start}}}"
        start = end
    return pattern


class _Span(NamedTuple):
    """Units of a word that a single character can represent."""

    start: int
    end: int
    character: str


class _Foldings(NamedTuple):
    # For each letter, the (marks, character) of all characters that fold to the letter with these marks.
    ones: dict[str, list[tuple[str, str]]]
    # Characters that fold to several letters, with these letters.
    many: list[tuple[str, list[str]]]


@cache
def _foldings() -> _Foldings:
    ones: dict[str, list[tuple[str, str]]] = defaultdict(list)
    many: list[tuple[str, list[str]]] = []
    pauses = Pauses()
    for code in chain.from_iterable(range(*block) for block in _FOLDING_BLOCKS):
        character = chr(code)
        folded = unicodedata.normalize("NFD", fold(character))
        if folded != character:
            units = _units(folded)
            if len(units) == 1:
                ones[units[0][0]].append((units[0][1:], character))
            else:
                many.append((character, units))
        pauses.pause()
    return _Foldings(ones, many)


def _units(text: str) -> list[str]:
    """Letters with their marks: composed for Hangul, decomposed for all other letters."""
    units: list[str] = []
    for character in unicodedata.normalize("NFC", text):
        if _is_hangul(character):
            units.append(character)
            continue
        for part in unicodedata.normalize("NFD", character):
            if unicodedata.combining(part) and units:
                units[-1] += part
            else:
                units.append(part)
    return units


def _is_hangul(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"


def _single(unit: str) -> str:
    """A pattern of one letter's spellings: composed, partly composed, or decomposed."""
    letter, marks = unit[0], unit[1:]
    if _is_hangul(letter):
        apart = unicodedata.normalize("NFD", letter)
        forms = {letter, apart, unicodedata.normalize("NFC", apart[:2]) + apart[2:]}
        return f"(?:{'|'.join(sorted(forms))}){re.escape(marks)}"
    dot = f"{_DOTTED_I[1]}?" if letter == "i" else ""
    whole = {letter} if not marks else set()
    partly = {letter} if marks else set()
    for some_marks, character in _foldings().ones.get(letter, []):
        if sorted(some_marks) == sorted(marks):
            whole.add(character)
        elif set(some_marks) < set(marks):
            partly.add(character)
    if not marks:
        return _any_of(whole) + dot
    written = {character for mark in marks for _, character in _foldings().ones.get(mark, [])} | set(marks)
    apart = f"{_any_of(partly)}{dot}{_any_of(written)}{{1,{len(marks)}}}"
    return f"(?:{_any_of(whole)}|{apart})" if whole else apart


def _together(units: list[str]) -> list[_Span]:
    """The spans where one character represents several letters, some of them perhaps outside the word."""
    spans: dict[tuple[int, int], set[str]] = defaultdict(set)
    for character, folded in _foldings().many:
        for first in range(1 - len(folded), len(units)):
            start, end = max(0, first), min(len(units), first + len(folded))
            if units[start:end] == folded[start - first : end - first]:
                spans[start, end].add(character)
    return [_Span(start, end, _any_of(characters)) for (start, end), characters in sorted(spans.items())]


def _tilings(start: int, end: int, singles: list[str], spans: list[_Span]) -> Iterator[str]:
    """All ways to write the letters from `start` to `end`."""
    if start == end:
        yield ""
        return
    for rest in _tilings(start + 1, end, singles, spans):
        yield singles[start] + rest
    for span in spans:
        if span.start == start and span.end <= end:
            for rest in _tilings(span.end, end, singles, spans):
                yield span.character + rest


def _any_of(characters: Iterable[str]) -> str:
    escaped = [re.escape(character) for character in sorted(characters)]
    return escaped[0] if len(escaped) == 1 else f"[{''.join(escaped)}]"
