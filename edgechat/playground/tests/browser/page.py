"""What a person does on the page and sees there."""

from __future__ import annotations

import re
from urllib.parse import quote

from playwright.sync_api import Locator, Page, expect

# A reply of several minutes, which a test stops when it has seen enough.
ENDLESS = "[[length=40000]] [[chunks=2000]] [[gap=0.2]]"
# What stands in the place of an answer before its first word.
THINKING = "The answer is being written"


def says(text: str) -> str:
    """The directive of the scripted model that makes it answer this text."""
    return f"[[say={quote(text)}]]"


def send(page: Page, text: str) -> None:
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")


def answers(page: Page) -> Locator:
    """The contents of the answers, the oldest first."""
    return page.locator(".message.model .content")


def wait_for_answer(page: Page, number: int = 1) -> Locator:
    """The whole content of that answer, of 1 or more, once it has been written."""
    expect(page.locator(".message.model")).to_have_count(number)
    expect(page.locator(".message.model").last).to_have_attribute("aria-busy", "false")
    return answers(page).last


def wait_for_writing(page: Page, characters: int = 1) -> None:
    """Wait until the last answer is being written, and so many of its characters are shown, without spaces."""
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(answers(page).last).to_have_text(re.compile(rf"^\s*(?!{THINKING})(?:\S\s*){{{characters}}}"))


def stop(page: Page) -> str:
    """Stop the last answer. Returns its words."""
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.model .state").last).to_have_text("Stopped")
    return words(answers(page).last)


def pull(page: Page) -> None:
    """Have the page ask for changes at once, as when it is shown again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def words(content: Locator) -> str:
    return " ".join(content.inner_text().split())


def choose(page: Page, title: str, action: str) -> None:
    """Choose an action from the menu of a conversation in the list."""
    page.get_by_label(f"Actions for {title}").click()
    page.locator(".menu[open]").get_by_role("button", name=action, exact=True).click()
