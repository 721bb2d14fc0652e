"""How long texts are cut into parts."""

from __future__ import annotations

import hashlib
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ai.summarize import text_parts
from ai.summarize.text_parts import count_words, has_words, hash_text, split_text
from usage.ledger.tokens import estimate_tokens

WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc", "Cf", "M"]), min_size=1, max_size=12)
GAPS = st.sampled_from([" ", "\n", "\n\n", ". ", "  "])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.integers(14, 60))
@example("👩‍👩‍👧" * 40, 20)
@example("e\u0301" * 200, 14)
@example("\n\n" * 100, 14)
@example("a" * 500, 14)
def test_the_parts_are_the_text_and_none_is_too_long(text: str, tokens: int) -> None:
    parts = split_text(text, tokens=tokens)
    assert "".join(parts) == text
    assert all(part and estimate_tokens(part) <= tokens for part in parts)


@given(st.lists(st.tuples(WORDS, GAPS), max_size=60))
def test_words_that_fit_stay_whole(pairs: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in pairs)
    # An ideographic full stop ends a sentence inside text without spaces, so it is replaced.
    text = text.replace("。", "x").replace("！", "x").replace("？", "x")
    parts = split_text(text, tokens=20)
    assert [word for part in parts for word in part.split()] == text.split()


def test_parts_end_with_paragraphs_else_sentences_else_words() -> None:
    assert split_text("One two.\n\nThree four. Five six", tokens=6) == ["One two.\n\n", "Three four. ", "Five six"]
    assert split_text("One two. Three four five", tokens=5) == ["One two. ", "Three four five"]
    assert split_text("one two three four five", tokens=4) == ["one two ", "three four ", "five"]
    assert split_text("一二三四。五六七八九。", tokens=7) == ["一二三四。", "五六七八九。"]


def test_a_word_that_is_too_long_is_cut_between_characters() -> None:
    assert split_text("x" * 70, tokens=10) == ["x" * 30, "x" * 30, "x" * 10]
    assert split_text("👩‍👩‍👧👩‍👩‍👧", tokens=7) == ["👩‍👩‍👧", "👩‍👩‍👧"]
    assert split_text("e\u0301" * 20, tokens=5) == ["e\u0301" * 5] * 4


@given(st.text("a \n\u3000_é.", max_size=40), st.integers(1, 9))
def test_words_are_counted_whatever_the_pieces(text: str, piece: int) -> None:
    with patch.object(text_parts, "_PIECE", piece), patch.object(text_parts, "_COUNTED_PIECE", piece):
        assert count_words(text) == len(text.split())
        assert has_words(text) == any(character.isalnum() for character in text)
        assert hash_text(text) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("人工智能正在改变世界。", 5),  # 人工 智能 正在 改变 世界
        ("我喜欢用Python，真的！", 5),
        ("吾輩は猫である。名前はまだ無い。", 9),
        ("コンピュータを使う", 3),
        ("ภาษาไทยเป็นภาษา", 4),
        ("ພາສາລາວເປັນພາສາ", 4),
        ("ភាសាខ្មែរជាភាសាផ្លូវការ", 3),
        ("မြန်မာဘာသာစကားသည်", 3),
        ("한국어는 띄어쓰기를 한다", 3),
        ("Chinese: 世界。 And “English” – so, don't!", 7),
        ("well-known C++ at 50%", 4),
        ("。、！", 1),
    ],
)
def test_words_without_spaces_between_them_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words
    assert count_words(f"\n{text} {text}\n" * 1000) == 2000 * words


@pytest.mark.parametrize("words", ["สวัสดี", "ภาษา ไทย เป็น ภาษา", "苹果", "猫 は 名前"])
def test_words_of_a_long_text_without_any_space_are_counted(words: str) -> None:
    assert count_words(words.replace(" ", "") * 5000) == 5000 * len(words.split())
