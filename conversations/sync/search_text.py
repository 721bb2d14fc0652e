"""What search takes for equal: texts whose letters are the same, whatever their case and their Unicode form.

Texts are compared folded: full case folding (`ß` is `ss`), then NFC, for phones send accents composed and apart. The
store cannot fold, so it looks for a regular expression of all that may be meant, and what it finds is compared here.
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

_PIECE = 2000  # characters, a millisecond's work or so
_CLUSTER = regex.compile(r"\X")

# The blocks of all characters that fold into others, without Hangul, which is composed by rule.
_FOLDING_BLOCKS = ((0x41, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000), (0x10400, 0x1EA00), (0x2F800, 0x2FA20))
_DOTTED_I = "i\u0307"
# Places that letters may take together in more ways than these are described roughly.
_MAX_TOGETHER = 6


def fold(text: str) -> str:
    """The form in which texts are compared; for short ones."""
    # Folding makes an i of Turkish `I` too, and of `İ` an i with a dot above the one that it has.
    folded = unicodedata.normalize("NFD", text).casefold().replace(_DOTTED_I, "i").replace("ı", "i")
    return unicodedata.normalize("NFC", folded)


class FoldedText:
    """A text of any length, to be searched for folded words. Others have their turn while it is folded."""

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
        """Where in the text the characters begin and end that a folded word is first found in."""
        place = self._folded.find(word)
        if place < 0:
            return None
        return self._cluster_at(place)[0], self._cluster_at(place + len(word) - 1)[1]

    def _cluster_at(self, folded_place: int) -> tuple[int, int]:
        piece = bisect_right(self._folded_starts, folded_place) - 1
        start, passed = self._starts[piece], self._folded_starts[piece]
        for match in _CLUSTER.finditer(self._text[start : self._starts[piece + 1]]):
            passed += len(fold(match.group()))
            if passed > folded_place:
                break
        return start + match.start(), start + match.end()


def pattern_of(folded: str) -> str:
    """A regular expression that finds every text with this folded text in it, and few others."""
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
    """Units of a word that a single character may stand for."""

    start: int
    end: int
    character: str


class _Foldings(NamedTuple):
    # For each letter (marks, character) of those that fold to it and marks, itself among them.
    ones: dict[str, list[tuple[str, str]]]
    # Characters that fold to several letters, with these.
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
    """Letters with their marks: composed for Hangul, decomposed for all others."""
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
    """What one letter may be written as: composed, partly composed, or with its marks apart."""
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
    """Where a character stands for several letters of the word, or for one at an end of it and others beside it."""
    spans: dict[tuple[int, int], set[str]] = defaultdict(set)
    for character, folded in _foldings().many:
        for place in range(1 - len(folded), len(units)):
            start, end = max(0, place), min(len(units), place + len(folded))
            if units[start:end] == folded[start - place : end - place]:
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
