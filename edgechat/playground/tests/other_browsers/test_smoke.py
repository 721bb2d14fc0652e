"""The playground in the engine of Safari and in Firefox: a conversation, through two reloads.

`make other-browsers-test` runs it. `make browser-test` tries all the rest in Chromium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from edgechat.playground.tests.other_browsers.engines import Browser, Firefox, WebKit

Eventually = Callable[[Callable[[], Any]], Any]
ANSWER = "\n\n".join(f"Line {number} of the *answer*." for number in range(60))
SHOWN = [f"Line {number} of the answer." for number in range(60)]

LISTEN = """
    window.complaints = [];
    const note = (event) => complaints.push(String(event.message ?? event.reason ?? event.violatedDirective));
    for (const name of ["error", "unhandledrejection", "securitypolicyviolation"]) addEventListener(name, note);
    const tell = console.error;
    console.error = (...told) => { complaints.push(told.join(" ")); tell(...told); };
"""
FILL = """
    const field = document.querySelector(arguments[0]);
    field.value = arguments[1];
    field.dispatchEvent(new Event("input", { bubbles: true }));
"""
CLICK = """
    const names = (button) => [button.getAttribute("aria-label"), button.textContent.trim()];
    [...document.querySelectorAll("button")].find((button) => names(button).includes(arguments[0])).click();
"""
LINES = """return [...document.querySelectorAll(".message.model .content p")].map((line) => line.textContent)"""
IS_WRITTEN = """return document.querySelector(".message.model")?.getAttribute("aria-busy") === "false" """
HEIGHT = """return document.getElementById("message").clientHeight"""


@pytest.fixture(params=[WebKit, Firefox], ids=lambda engine: engine.label)
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    engine = request.param("browser", tmp_path)
    engine.start()
    yield engine
    engine.stop()


def load(browser: Browser, eventually: Eventually, has: str) -> None:
    """Listen to what the page complains about, and wait until it shows what `has` selects."""
    browser.run(LISTEN)
    eventually(lambda: browser.run("return document.querySelector(arguments[0]) !== null", has))


def test_an_answer_is_written_and_survives_reloads(browser: Browser, web_url: str, eventually: Eventually) -> None:
    browser.open(f"{web_url}/playground")
    load(browser, eventually, "[name=email]")
    browser.run(CLICK, "Create an account")
    browser.run(FILL, "[name=email]", f"{uuid4().hex}@example.com")
    browser.run(FILL, "[name=password]", "a long password")
    browser.run(CLICK, "Create account")
    load(browser, eventually, "#message")
    # The field grows with its text.
    height = browser.run(HEIGHT)
    browser.run(FILL, "#message", "word " * 300)
    assert browser.run(HEIGHT) > 2 * height
    browser.run(FILL, "#message", f"[[chunks=60]] [[gap=0.2]] [[say={quote(ANSWER)}]]")
    browser.run(CLICK, "Send")
    eventually(lambda: len(browser.run(LINES)) > 2)
    assert browser.run("return complaints") == []
    browser.reload()
    load(browser, eventually, ".message.model")
    eventually(lambda: browser.run(IS_WRITTEN))
    assert browser.run(LINES) == SHOWN
    browser.reload()
    load(browser, eventually, ".message.model")
    eventually(lambda: browser.run(IS_WRITTEN))
    assert browser.run(LINES) == SHOWN
    assert browser.run("return document.querySelectorAll('.message.user').length") == 1
    assert browser.run("return complaints") == []
