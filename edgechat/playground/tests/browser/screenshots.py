"""`make screenshots`: the pictures of README, phone and desktop, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from conftest import Person
from edgechat.playground.tests.browser.page import says, wait_for_answer

FOLDER = Path(__file__).parents[4] / "docs" / "playground"
QUESTION = "How do I check in Python that a word is a palindrome?"
ANSWER = """Compare the word with its reverse, and ignore case and punctuation:

```python
def is_palindrome(text: str) -> bool:
    letters = [each.lower() for each in text if each.isalnum()]
    return letters == letters[::-1]  # a reversed copy
```

| text | palindrome |
|---|---|
| `Never odd or even` | yes |
| `EdgeChat` | no |

It takes time and memory **in proportion to the length** of the text.
"""
OTHERS = ["Trip to Lisbon", "Bread without kneading", "Names for a cat", "Letter to the landlord"]
TIDY = """(question) => {
    document.querySelector(".bubble").textContent = question;
    document.querySelector(".sidebar footer button:last-child span").textContent = "ann@example.com";
}"""
SIZES = {"phone": (390, 780), "desktop": (1200, 760)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", list(SIZES))
def test_take_the_picture(
    open_context: Callable[..., BrowserContext],
    enter: Callable[[BrowserContext, Person], Page],
    web_url: str,
    register: Callable[..., Person],
    device: str,
    scheme: str,
) -> None:
    person = register("ann")
    for title in OTHERS:
        person.new_conversation(title=title)
    conversation = person.new_conversation(title="Palindromes in Python")
    person.say(conversation, QUESTION + says(ANSWER))
    width, height = SIZES[device]
    viewport = {"width": width, "height": height}
    page = enter(open_context(web_url, color_scheme=scheme, viewport=viewport, reduced_motion="reduce"), person)
    page.goto(f"/playground#/c/{conversation}")
    expect(wait_for_answer(page)).to_contain_text("Compare the word")
    # The picture shows the question without the directive, and no tester's address.
    page.evaluate(TIDY, QUESTION)
    FOLDER.mkdir(exist_ok=True)
    page.screenshot(path=FOLDER / f"{device}-{scheme}.png")
