"""The places at which texts are cut."""

from __future__ import annotations

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from edgechat.graphemes import MAX_CLUSTER, cut, last_boundary, next_boundary

FAMILY, FLAG, TAG_FLAG = "👩‍👩‍👧", "🇩🇪", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
CLUSTERS = [
    "a",
    " ",
    "\r\n",
    "\n",
    "e\u0301\u0323",
    FAMILY,
    FLAG,
    TAG_FLAG,
    "👍🏽",
    "1\ufe0f\u20e3",
    "நி",
    "क्षि",
    "한",
    "\u1112\u1161\u11ab",
]


@given(st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=30), st.integers(0, 200), st.integers(0, 2000))
@example([FLAG] * 5, 7, 2000)
@example([FAMILY] * 3, 12, 300)
def test_boundaries_are_those_of_the_whole_text(clusters: list[str], position: int, times: int) -> None:
    text = "".join(clusters)
    text = (text * (times // len(text) + 1))[:3000]
    bounds = [0]
    for cluster in regex.findall(r"\X", text):
        bounds.append(bounds[-1] + len(cluster))
    position = min(position * 11, len(text))
    assert last_boundary(text, position) == max(bound for bound in bounds if bound <= position)
    assert next_boundary(text, position) == min(bound for bound in bounds if bound >= position)


@pytest.mark.parametrize(
    ("text", "limit", "beginning"),
    [
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("", 0, ""),
        (f"a{FAMILY}", 4, "a"),
        (f"{FLAG}{FLAG}", 3, FLAG),
        ("cafe\u0301s", 4, "caf"),
        (FAMILY, 4, ""),
        ("a\r\nb", 2, "a"),
    ],
)
def test_a_beginning_has_whole_characters_only(text: str, limit: int, beginning: str) -> None:
    assert cut(text, limit) == beginning


def test_a_letter_with_endless_accents_is_cut() -> None:
    text = "a" + "\u0301" * 3 * MAX_CLUSTER
    assert cut(text, 2 * MAX_CLUSTER) == text[: 2 * MAX_CLUSTER]
