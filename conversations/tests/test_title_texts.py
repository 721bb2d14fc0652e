"""Titles made from texts; pure functions."""

from __future__ import annotations

import pytest
import regex

from conversations.prompt.titles import MAX_TITLE_CHARACTERS, title_of_answer, title_of_question


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("**Birds of Chad**", "Birds of Chad"),
        ("## Birds of Chad ##", "Birds of Chad"),
        ("Birds of Chad\n=====", "Birds of Chad"),
        ("```\nBirds of Chad\n```", "Birds of Chad"),
        ("- _Birds of Chad_", "Birds of Chad"),
        ("### 1. **“Birds of Chad”**", "Birds of Chad"),
        ("> `Birds of Chad`", "Birds of Chad"),
        ("„Vögel“", "Vögel"),
        ("'Don't panic'", "Don't panic"),
        ("「東京」", "東京"),
        ("_birds_", "birds"),
        ("*Birds of **Chad***", "Birds of **Chad**"),
        ("***Birds** of Chad*", "**Birds** of Chad"),
        ("- [ ] Birds of Chad", "Birds of Chad"),
        *(
            (kept, kept)
            for kept in ("C#", "F# and C#", "C++", "*args and **kwargs", "__init__", "_private", "#hashtag")
        ),
        *(
            (kept, kept)
            for kept in (
                "*One* and *two*",
                "**One** and **two**",
                '"A" and "B"',
                "2. Weltkrieg",
                "-5 degrees",
                "5 * 3 * 2",
            )
        ),
        ("# C#", "C#"),
        ("**C# or F#**", "C# or F#"),
        ("`__init__`", "__init__"),
        ("****", ""),
        (" \n ", ""),
    ],
)
def test_marks_around_a_title_go_and_those_in_it_stay(text: str, title: str) -> None:
    assert (title_of_question(text), title_of_answer(text)) == (title, title)


@pytest.mark.parametrize("text", ["Title: Birds", "**Title:** Birds", "## Title: **Birds**", "Titel: „Birds“"])
def test_a_model_may_say_that_it_is_a_title(text: str) -> None:
    assert title_of_answer(text) == "Birds"


def test_what_a_model_escaped_is_read() -> None:
    assert title_of_answer(r"C\# and F\#") == "C# and F#"


@pytest.mark.parametrize("character", ["👩‍👩‍👧", "🇩🇪", "e\u0301", "한", "क्षि", "👍🏽", "x"])
def test_a_long_title_ends_with_a_whole_character(character: str) -> None:
    title = title_of_question("A " + character * 100)
    assert len(title) <= MAX_TITLE_CHARACTERS
    shown = regex.findall(r"\X", title)
    assert shown == ["A", " ", *[character] * (len(shown) - 3), "…"]
    assert len(title) > MAX_TITLE_CHARACTERS - len(character) - 1


def test_an_answer_that_is_longer_than_a_title_is_none() -> None:
    assert title_of_answer("**" + "x" * MAX_TITLE_CHARACTERS + "**") == "x" * MAX_TITLE_CHARACTERS
    assert title_of_answer("x" * (MAX_TITLE_CHARACTERS + 1)) == ""


def test_a_long_title_ends_with_a_whole_word() -> None:
    assert title_of_question("wonder " * 30) == "wonder " * 10 + "wonder…"


def test_hostile_texts_take_no_time() -> None:
    for text in ("> " * 16_000, "*" * 32_000, "- " * 16_000 + "x", "`" * 31_999, '"' * 32_000, "# " * 16_000):
        assert len(title_of_question(text)) <= MAX_TITLE_CHARACTERS
