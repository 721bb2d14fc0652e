"""What stands beside the conversation: summaries, todos, usage, sessions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, Route, expect

from accounts.models import User
from ai.tests.local_pages import LocalPagesServer
from ai.tests.sites import Site, http
from conftest import Person
from edgechat.playground.tests.browser.page import send, wait_for_answer
from usage.ledger.services import set_budget
from usage.models import Spending


def test_an_address_or_a_text_is_summarized(alices: Page) -> None:
    alices.get_by_role("button", name="Summarize a page").click()
    source = alices.get_by_label("Address of the page")
    source.fill("http://127.0.0.1/private")
    alices.locator("select").select_option("bullets")
    with alices.expect_request("**/ai/summarize") as asked:
        alices.get_by_role("button", name="Summarize", exact=True).click()
    assert asked.value.post_data_json == {"url": "http://127.0.0.1/private", "style": "bullets", "max_words": 120}
    expect(alices.locator("dialog .error")).to_have_text("url: The address can't be opened")
    source.fill("A long text about rainbows.")
    alices.get_by_role("button", name="Summarize", exact=True).click()
    expect(alices.locator(".result .content")).to_contain_text("rainbows")
    alices.get_by_role("button", name="Put into the message").click()
    expect(alices.locator("#message")).to_have_value(re.compile("rainbows"))


@pytest.fixture
def pages_url(shared_servers: None, data_dir: Path, site: Site) -> Iterator[str]:
    """Web processes that can read the site, which is on this machine."""
    server = LocalPagesServer(data_dir=data_dir, pages_port=site.port, seconds=60, workers=1)
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def site() -> Iterator[Site]:
    html = "<html><head><title>Harbour news</title></head><body><p>The ferry sails at noon again.</p></body></html>"
    site = Site(lambda visit: visit.send(http(html.encode(), "text/html")))
    yield site
    site.close()


def test_a_page_is_summarized(
    open_context: Callable[..., BrowserContext],
    enter: Callable[[BrowserContext, Person], Page],
    pages_url: str,
    site: Site,
    alice: Person,
) -> None:
    page = enter(open_context(pages_url), alice)
    address = f"http://news.example:{site.port}/today"
    page.get_by_role("button", name="Summarize a page").click()
    page.get_by_label("Address of the page").fill(address)
    page.get_by_role("button", name="Summarize", exact=True).click()
    result = page.locator(".result")
    expect(result.get_by_role("heading", name="Harbour news")).to_be_visible()
    expect(result.locator(".content")).to_contain_text("The ferry sails at noon again.")
    expect(result.get_by_role("link", name=address)).to_have_attribute("href", address)


def test_a_text_can_be_marked_beyond_the_edge_of_a_dialog(alices: Page) -> None:
    alices.get_by_role("button", name="Usage and budget").click()
    title = alices.locator("dialog h2")
    expect(title).to_be_visible()
    box = title.bounding_box()
    assert box is not None
    alices.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    alices.mouse.down()
    alices.mouse.move(3, 3)
    alices.mouse.up()
    expect(title).to_be_visible()
    alices.mouse.click(3, 3)
    expect(alices.locator("dialog[open]")).to_have_count(0)


def test_todos_are_found_in_a_conversation_added_and_completed(alices: Page, alice: Person) -> None:
    send(alices, "I must buy bread.")
    wait_for_answer(alices)
    alices.get_by_role("button", name="Find todos in this conversation").click()
    expect(alices.locator("dialog [role=status]").first).to_have_text(re.compile("added to your todos"))
    alices.get_by_role("button", name="Show all todos").click()
    alices.get_by_label("New todo").fill("Call the plumber")
    alices.get_by_role("button", name="Add", exact=True).click()
    expect(alices.get_by_label("New todo")).to_have_value("")
    alices.get_by_label("Call the plumber", exact=True).check()
    expect(alices.get_by_label("Call the plumber", exact=True)).to_be_checked()
    alices.get_by_label("Archive Call the plumber").click()
    expect(alices.locator("ul.todos")).not_to_contain_text("Call the plumber")
    [archived] = alice.get("todos", params={"archived": "true"}).json()
    assert (archived["title"], archived["completed"]) == ("Call the plumber", True)
    assert [todo["conversation_id"] is not None for todo in alice.get("todos").json()] == [True]


def test_a_todo_that_is_typed_while_another_is_added_stays(alices: Page) -> None:
    def type_next(route: Route) -> None:
        alices.get_by_label("New todo").fill("Buy milk")
        route.continue_()

    alices.get_by_role("button", name="Todos", exact=True).click()
    alices.get_by_label("New todo").fill("Call the plumber")
    alices.route("**/api/v1/todos", type_next, times=1)
    alices.get_by_role("button", name="Add", exact=True).click()
    expect(alices.locator("ul.todos")).to_contain_text("Call the plumber")
    expect(alices.get_by_label("New todo")).to_have_value("Buy milk")


def test_usage_and_budget_are_shown(
    alices: Page, alice: Person, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    send(alices, "Hello")
    wait_for_answer(alices)
    eventually(lambda: alice.get("usage/me").json()["tokens"]["total"])
    alices.get_by_role("button", name="Usage and budget").click()
    expect(alices.locator(".figures div", has_text="Tokens, total").locator("dd")).to_have_text(re.compile(r"^[1-9]"))
    expect(alices.locator("dialog")).to_contain_text("There is no limit")
    expect(alices.locator(".chart rect")).to_have_count(30)


def test_a_budget_near_its_end_is_shown_and_a_spent_one_explained(
    alices: Page, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Playwright runs an event loop in this thread, in which Django refuses queries.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    user = User.objects.get(pk=alice.id)
    set_budget(subject=user, period="month", token_limit=1_000)
    now = timezone.now()
    Spending.objects.update_or_create(
        user=user, defaults={"month": now.date().replace(day=1), "month_tokens": 950, "day": now.date()}
    )
    alices.get_by_role("button", name="Usage and budget").click()
    expect(alices.locator("dialog")).to_contain_text("950 of 1,000 tokens are used, 50 are left.")
    expect(alices.locator("dialog progress")).to_have_attribute("value", "950")
    expect(alices.locator("dialog")).to_contain_text("A new budget begins on ")
    alices.keyboard.press("Escape")
    send(alices, "Nothing is left for this. " * 20)
    expect(alices.locator(".outgoing")).to_contain_text("The account's budget of 1000 tokens a month")


def test_one_session_is_ended_and_then_all(
    alices: Page,
    open_context: Callable[..., BrowserContext],
    enter: Callable[[BrowserContext, Person], Page],
    web_url: str,
    alice: Person,
) -> None:
    body = {"email": alice.email, "password": alice.password, "device_name": "Old phone"}
    token = alice.post("auth/login", json=body).json()["access_token"]
    alices.get_by_role("button", name="Sessions").click()
    alices.locator("dialog li", has_text="Old phone").get_by_role("button", name="End").click()
    expect(alices.locator("dialog")).not_to_contain_text("Old phone")
    assert alice.signed_in(token).get("auth/me").status_code == 401
    other = enter(open_context(web_url), alice)
    alices.get_by_role("button", name="Log out everywhere").click()
    expect(alices.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
AGENTS = {
    f"{_IPHONE} {_WEBKIT} Version/16.4 Mobile Safari/604.1": "Safari on iPhone",
    f"{_IPHONE} {_WEBKIT} CriOS/140.0.0.0 Safari/604.1": "Chrome on iPhone",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/18.0 Safari/605.1.15": "Safari on Mac",
    f"Mozilla/5.0 (Linux; Android 10; K) {_BLINK} Mobile Safari/537.36": "Chrome on Android",
    "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0": "Firefox on Android",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_BLINK} Safari/537.36 Edg/140.0.0.0": "Edge on Windows",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0": "Firefox on Linux",
    "curl/8": "Browser",
}
NAME_DEVICES = """async (agents) => {
    const { deviceName } = await import("/static/playground/account.js");
    return agents.map((each) => deviceName(each));
}"""


def test_a_session_is_named_after_its_browser_and_system(alices: Page) -> None:
    assert alices.evaluate(NAME_DEVICES, list(AGENTS)) == list(AGENTS.values())
