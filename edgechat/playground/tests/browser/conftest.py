"""A real browser, and people who use the page in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from accounts.tests.mails import mail_settings
from conftest import Person, new_address
from edgechat.local.browser import find_browser
from edgechat.playground.tests.browser.line import Line

# A busy machine must not fail a test.
PATIENCE_MILLISECONDS = 120_000
# `--no-sandbox` for root; no background traffic; a camera that shows a test pattern; graphics without a GPU.
ARGUMENTS = [
    "--no-sandbox",
    "--no-zygote",
    "--in-process-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

# Notices go after 6 s, which a busy browser may need to show one. Here they stay.
KEEP_NOTICES = """
    const start = window.setTimeout;
    window.setTimeout = (run, wait, ...more) => start(run, wait === 6000 ? 600000 : wait, ...more);
"""

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="session")
def web_url(web_with: Callable[..., str]) -> str:
    """Web processes of which a reply may take minutes, until the test stops it, and whose e-mails tests can read."""
    return web_with(AI_TIMEOUT_SECONDS="600", **mail_settings())


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def open_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """A new browser profile: `open_context(url)`. The test fails on an error in a page, or a breach of its policy."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "Policy" in message.text:
            complaints.append(message.text)

    def listen(page: Page) -> None:
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", note)

    def make(url: str, **options: Any) -> BrowserContext:
        context = browser.new_context(
            base_url=url,
            extra_http_headers=new_address(),
            permissions=["camera", "clipboard-read", "clipboard-write"],
            **options,
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.on("page", listen)
        context.add_init_script(KEEP_NOTICES)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], web_url: str) -> Page:
    """The page, with nobody signed in."""
    page = open_context(web_url).new_page()
    page.goto("/playground")
    return page


@pytest.fixture
def enter() -> Callable[[BrowserContext, Person], Page]:
    """Open the page with a person's session."""

    def enter(context: BrowserContext, person: Person) -> Page:
        page = context.new_page()
        page.goto("/playground")
        page.evaluate(
            "async (tokens) => (await import('/static/playground/tokens.js')).keepTokens(tokens)", person.tokens
        )
        page.reload()
        expect(page.locator("#message")).to_be_visible()
        return page

    return enter


@pytest.fixture
def alices(
    open_context: Callable[..., BrowserContext],
    enter: Callable[[BrowserContext, Person], Page],
    web_url: str,
    alice: Person,
) -> Page:
    """The page, with alice signed in."""
    return enter(open_context(web_url), alice)


@pytest.fixture
def line(web_url: str) -> Iterator[Line]:
    """A network between the browser and the server, which can break."""
    line = Line(web_url)
    yield line
    line.end()
