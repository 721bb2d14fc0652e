"""Notices when a small model repeats itself without end. Pure."""

import re
from collections import Counter
from collections.abc import Iterator

TIMES = 3
# A run of shorter phrases ("ha ha ha") is a loop once it is as long as three phrases of this length.
PHRASE_CHARACTERS = 12
# Within sentences or lines, which need not follow each other.
PHRASE_WORDS = 6
# Shorter sentences ("Yes.") may come back.
SENTENCE_CHARACTERS = 20
# The part of a text that is searched for a phrase that comes three times in a row.
TAIL_CHARACTERS = 1500

_END = re.compile(r"[.!?。！？\n]+")
_MARKS = re.compile(r"[\W_]+")
# What differs between the items of a numbered list.
_NUMBER = re.compile(r"^ ?\d* ?")


class Repetition:
    """Reads an answer piece by piece."""

    def __init__(self) -> None:
        self._tail = ""
        self._sentence = ""
        self._phrases: Counter[str] = Counter()

    def has_come(self, piece: str) -> bool:
        """Whether, with this piece, a phrase has come three times."""
        *ended, self._sentence = _END.split(self._sentence + piece)
        for sentence in ended:
            self._phrases.update(set(_phrases(sentence)))
        self._tail = _plain(self._tail + piece)[-TAIL_CHARACTERS:]
        return max(self._phrases.values(), default=0) >= TIMES or _ends_in_a_loop(self._tail)


def _phrases(sentence: str) -> Iterator[str]:
    """The sentence, and each run of six words in it."""
    sentence = _NUMBER.sub("", _plain(sentence)).strip()
    if len(sentence) >= SENTENCE_CHARACTERS:
        yield sentence
    words = sentence.split()
    for end in range(PHRASE_WORDS, len(words) + 1):
        yield " ".join(words[end - PHRASE_WORDS : end])


def _plain(text: str) -> str:
    """The letters and digits, and one space for everything between them."""
    return _MARKS.sub(" ", text.casefold())


def _ends_in_a_loop(text: str) -> bool:
    for length in range(1, len(text) // TIMES + 1):
        times = max(TIMES, -(-TIMES * PHRASE_CHARACTERS // length))
        phrase = text[-length:]
        if text[-2 * length : -length] == phrase and text.endswith(phrase * times):
            return True
    return False
