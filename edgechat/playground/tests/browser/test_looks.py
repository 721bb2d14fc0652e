"""Light and dark, narrow and wide, by keyboard, by screen reader, and without motion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from conftest import Person
from edgechat.local.browser import AXE
from edgechat.playground.tests.browser.page import ENDLESS, says, send, stop, wait_for_answer, wait_for_writing

RICH = """# Title

Text with `code`.

```python
print('Hello')  # a comment
```

> A quote

| a | b |
|---|---|
| 1 | 2 |

- [x] done
- [ ] open"""
DIALOGS = ["Usage and budget", "Todos", "Summarize a page", "Sessions"]
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def obstacles(page: Page) -> list[str]:
    """What axe finds, a line each."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def open_dialog(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    expect(page.locator("dialog h2")).to_have_text(name)
    expect(page.locator("dialog")).not_to_contain_text("Loading")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_obstacle(
    open_context: Callable[..., BrowserContext],
    enter: Callable[[BrowserContext, Person], Page],
    web_url: str,
    alice: Person,
    scheme: str,
) -> None:
    context = open_context(web_url, bypass_csp=True, color_scheme=scheme, reduced_motion="reduce")
    entrance = context.new_page()
    entrance.goto("/playground")
    expect(entrance.get_by_role("heading", name="Sign in")).to_be_visible()
    assert obstacles(entrance) == []
    page = enter(context, alice)
    send(page, says(RICH))
    wait_for_answer(page)
    assert obstacles(page) == []
    for name in DIALOGS:
        open_dialog(page, name)
        assert obstacles(page) == []
        page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_is_wider_than_the_page(alices: Page, width: int) -> None:
    alices.set_viewport_size({"width": width, "height": 740})
    send(alices, says(f"{RICH}\n\n```\n{'long ' * 100}\n```\n\n{'x' * 400}"))
    wait_for_answer(alices)
    assert alices.evaluate(OVERFLOW) == 0
    if width <= 768:
        expect(alices.locator(".sidebar")).not_to_be_in_viewport()
        alices.get_by_role("button", name="Conversations", exact=True).click()
    for name in DIALOGS:
        open_dialog(alices, name)
        assert alices.evaluate(OVERFLOW) == 0
        alices.keyboard.press("Escape")


def test_the_theme_can_be_chosen_and_stays(alices: Page, alice: Person) -> None:
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = alices.evaluate(background)
    alices.get_by_role("button", name=alice.email).click()
    alices.get_by_label("Dark").check()
    dark = alices.evaluate(background)
    assert dark != light
    alices.reload()
    expect(alices.locator("#message")).to_be_visible()
    assert alices.evaluate(background) == dark


def test_everything_is_done_by_keyboard(alices: Page) -> None:
    keyboard = alices.keyboard
    expect(alices.locator("#message")).to_be_focused()
    keyboard.type("By keyboard")
    keyboard.press("Enter")
    expect(wait_for_answer(alices)).to_have_text("Echo: By keyboard")
    keyboard.type(ENDLESS)
    keyboard.press("Enter")
    wait_for_writing(alices)
    keyboard.press("Escape")
    expect(alices.locator(".message.model .state")).to_have_text("Stopped")
    keyboard.press("Control+Shift+O")
    expect(alices.get_by_role("heading", name="New conversation")).to_be_visible()
    menu = alices.locator(".menu summary")
    for _ in range(60):
        keyboard.press("Tab")
        if menu.evaluate("element => element === document.activeElement"):
            break
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(alices.locator("dialog input")).to_be_focused()
    keyboard.type(" by keyboard")
    keyboard.press("Enter")
    expect(alices.locator(".conversations .title")).to_contain_text("by keyboard")
    expect(alices.locator("dialog[open]")).to_have_count(0)


def test_a_screen_reader_is_told_of_the_answer(alices: Page) -> None:
    region = alices.locator("#announcements")
    expect(region).to_have_attribute("aria-live", "polite")
    send(alices, "Hello")
    expect(region).to_have_text("Answer: Echo: Hello")
    expect(alices.locator(".message.model")).to_have_attribute("aria-busy", "false")


def test_nothing_moves_for_people_who_want_no_motion(alices: Page) -> None:
    alices.emulate_media(reduced_motion="reduce")
    send(alices, "Hello [[delay=300]]")
    expect(alices.locator(".thinking")).to_be_visible()
    assert alices.evaluate("() => document.getAnimations().length") == 0
    stop(alices)
