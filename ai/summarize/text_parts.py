"""Counts the words of long texts and cuts them into parts. Lets other requests run meanwhile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from icu4py.breakers import WordBreaker

from edgechat.graphemes import MAX_CLUSTER, last_boundary
from edgechat.processes.threads import Pauses

# The end of a sentence with closing marks; Chinese and Japanese put no space after it.
_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？]["”’」』）]*\s*""")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_PIECE = 32_000  # characters, about a millisecond of work

# Southeast Asian scripts, Tibetan, kana, bopomofo and Chinese characters: they have no spaces between words.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007\u3031-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaadf\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_COUNTED_PIECE = 4_000  # characters, ten milliseconds of work with dictionaries
_LOOK_AHEAD = 100  # characters; the end of a word depends on some of the following ones
_GAP = re.compile(r".*[\s。！？、，；：]", re.DOTALL)  # up to the last gap


def has_words(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return any(_LETTER_OR_DIGIT.search(piece) for piece in _pieces(text))


def count_words(text: str) -> int:
    """The number of words between white space; for scripts without spaces, by ICU's dictionaries."""
    words, before = 0, " "
    pauses = Pauses()
    start = 0
    while start < len(text):
        pauses.pause()
        piece = text[start : start + _COUNTED_PIECE]
        if start + len(piece) < len(text):
            piece = piece[: _end_of_words(piece)]
        start += len(piece)
        words += _count_words(piece) - _are_of_one_word(before, piece[0])
        before = piece[-1]
    return words


def _end_of_words(piece: str) -> int:
    """Where to cut this piece of a longer text so that no word is split."""
    if gap := _GAP.match(piece):
        return gap.end()
    if not _WITHOUT_SPACES.match(piece[-1]):
        return len(piece)
    ends = [end for _, end in WordBreaker(piece, "en").segments() if end <= len(piece) - _LOOK_AHEAD]
    return ends[-1] if ends else len(piece)


def _count_words(text: str) -> int:
    if not _WITHOUT_SPACES.search(text):
        return len(text.split())
    spaced = text.split()
    unspaced = [stretch for stretch in spaced if _WITHOUT_SPACES.search(stretch)]
    segments = WordBreaker(" ".join(unspaced), "en")  # the dictionaries are the same for all languages
    return len(spaced) - len(unspaced) + sum(1 for segment in segments if _LETTER_OR_DIGIT.search(segment))


def _are_of_one_word(last: str, first: str) -> bool:
    """Whether a cut splits a word, which is then counted twice."""
    return not any(character.isspace() or _WITHOUT_SPACES.match(character) for character in (last, first))


def hash_text(text: str) -> str:
    """The hexadecimal SHA-256 of a text in UTF-8."""
    digest = hashlib.sha256()
    for piece in _pieces(text):
        digest.update(piece.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _pieces(text: str) -> Iterator[str]:
    pauses = Pauses()
    for start in range(0, len(text), _PIECE):
        pauses.pause()
        yield text[start : start + _PIECE]


def split_text(text: str, *, tokens: int) -> list[str]:
    """Parts of at most `tokens`, by `estimate_tokens`; joined, they are the text again.

    A part ends with a paragraph if this leaves at least half of the maximum length. Otherwise it ends with a sentence,
    or else with a word. A word that is too long for a part is cut between two characters.
    """
    parts = []
    start = 0
    pauses = Pauses()
    while start < len(text):
        pauses.pause()
        end = start + _fitting(text[start : start + 3 * tokens], 3 * tokens)
        if end < len(text):
            end = start + _last_boundary(text[start:end], text[end : end + MAX_CLUSTER])
        parts.append(text[start:end])
        start = end
    return parts


def _fitting(text: str, longest: int) -> int:
    """How many characters fit into `longest` bytes of UTF-8; at least one."""
    return len(text.encode()[:longest].decode(errors="ignore")) or 1


def _last_boundary(window: str, following: str) -> int:
    """Where to end a part that may have all of `window`; `following` comes after `window`."""
    half = len(window) // 2
    paragraph = window.rfind("\n\n", max(0, half - 2))
    if paragraph >= 0:
        return paragraph + 2
    *_, sentence = (0, *(match.end() for match in _SENTENCE_END.finditer(window, half)))
    if sentence:
        return sentence
    if following[0].isspace() or window[-1].isspace():
        return len(window)
    words = window.rsplit(None, 1)
    if len(words) == 2:
        return len(window) - len(words[1])
    return last_boundary(window + following, len(window)) or len(window)
