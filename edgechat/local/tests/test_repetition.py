"""The end of loops; pure functions."""

import pytest

from edgechat.local.model_server.repetition import Repetition


def read_until_it_stops(text: str, *, size: int = 4) -> str:
    """What is read of a text that comes in pieces of `size` characters."""
    repetition = Repetition()
    for end in range(size, len(text) + size, size):
        if repetition.has_come(text[end - size : end]):
            return text[:end]
    return text


@pytest.mark.parametrize(
    ("beginning", "phrase"),
    [
        ("Well: ", "the sea is blue and "),
        ("", "I don't know what you mean. "),
        ("I think so.\n", "I am here to help you. What would you like to do today?\n"),
        ("", "今天天气很好我们去公园散步吧，"),
        ("A list:\n", "- a cup of warm water\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 4, 30])
def test_a_phrase_comes_three_times_at_most(beginning: str, phrase: str, size: int) -> None:
    read = read_until_it_stops(beginning + phrase * 50, size=size)
    assert len(beginning + phrase * 2) < len(read) <= len(beginning + phrase * 3) + size


def test_a_sentence_comes_three_times_at_most_with_others_and_numbers_between() -> None:
    items = [f"{number}. Drink a glass of water. Then do thing {chr(65 + number)}.\n" for number in range(20)]
    assert read_until_it_stops("".join(items)).count("Drink a glass of water") == 3


def test_six_words_come_three_times_at_most_however_their_sentences_end() -> None:
    endings = ("forevermore", "again", "once more", "always", "itself", "its name", "the sky")
    lines = [f"A place where the soul loves {ending},\n" for ending in endings]
    assert read_until_it_stops("In the depths of the blue,\n" + "".join(lines)).count("the soul loves") == 3


def test_short_phrases_end_once_they_fill_a_line() -> None:
    assert len(read_until_it_stops("ha " * 500)) < 60
    assert len(read_until_it_stops("no, " * 500)) < 80


@pytest.mark.parametrize(
    "text",
    [
        "Ha ha ha! Yes, yes, yes. No. No. No. Very, very, very good.",
        "| a | b |\n|------------------------|------------------------|\n" + "| 1 | 2 |\n| 3 | 4 |\n",
        "".join(f"7 x {number} = {7 * number}\n" for number in range(1, 21)),
        "".join(f"{number} apples, " for number in range(1, 30)),
        "".join(f"On day {number} it rained {number * 3} mm in the valley.\n" for number in range(1, 20)),
        "#" * 200 + "-" * 200 + "\n" * 100,
    ],
)
def test_what_is_no_loop_is_read_to_its_end(text: str) -> None:
    assert read_until_it_stops(text) == text
