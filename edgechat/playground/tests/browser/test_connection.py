"""Connections that break, several tabs, and tokens that expire: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from conftest import Person
from edgechat.playground.tests.browser.line import Line
from edgechat.playground.tests.browser.page import (
    ENDLESS,
    answers,
    send,
    stop,
    wait_for_answer,
    wait_for_writing,
    words,
)

# In each open tab: eight calls at the same time, after `change` has been made to the tokens.
EIGHT_CALLS = """async () => {
    const { callJson } = await import("/static/playground/api.js");
    const bodies = await Promise.all(Array.from({ length: 8 }, () => callJson("GET", "auth/me")));
    return bodies.map((body) => body.email);
}"""
CHANGE_TOKENS = """async (change) => {
    const { keepValue, readValue } = await import("/static/playground/database.js");
    await keepValue("tokens", { ...(await readValue("tokens")), ...change });
}"""


def stored_answer(person: Person) -> str:
    """The text of the only answer of the only conversation."""
    [conversation] = person.get("chat/conversations").json()["conversations"]
    _, answer = person.messages(conversation["id"])["messages"]
    return " ".join(answer["content"].split())


def test_a_reply_goes_on_where_the_connection_broke(
    open_context: Callable[..., BrowserContext], enter: Callable[..., Page], alice: Person, line: Line
) -> None:
    page = enter(open_context(line.url), alice)
    send(page, ENDLESS)
    wait_for_writing(page)
    with page.expect_request("**/stream") as resuming:
        line.cut()
    assert resuming.value.headers["last-event-id"]
    wait_for_writing(page, len(words(answers(page))) + 20)
    line.down()
    expect(page.locator("#offline")).to_be_visible()
    line.up()
    expect(page.locator("#offline")).to_have_count(0)
    wait_for_writing(page, len(words(answers(page))) + 20)
    assert stop(page) == stored_answer(alice)


def test_what_is_sent_without_a_connection_arrives_once_even_after_a_reload(
    open_context: Callable[..., BrowserContext], enter: Callable[..., Page], alice: Person, line: Line
) -> None:
    page = enter(open_context(line.url), alice)
    line.down()
    send(page, "Still here")
    expect(page.locator(".outgoing .bubble")).to_have_text("Still here")
    expect(page.locator("#offline")).to_be_visible()
    line.up()
    page.reload()
    expect(wait_for_answer(page)).to_have_text("Echo: Still here")
    expect(page.locator(".message.user")).to_have_count(1)
    assert stored_answer(alice) == "Echo: Still here"


def test_the_browser_says_that_it_is_offline(alices: Page) -> None:
    alices.context.set_offline(True)
    expect(alices.locator("#offline")).to_be_visible()
    alices.context.set_offline(False)
    expect(alices.locator("#offline")).to_have_count(0)


def test_over_the_limit_of_requests_the_page_says_so_and_goes_on_by_itself(
    open_context: Callable[..., BrowserContext], enter: Callable[..., Page], web_url: str, alice: Person
) -> None:
    conversation = alice.new_conversation(title="Known")
    assert alice.say(conversation, "Hello").status_code == 200
    page = enter(open_context(web_url), alice)
    limited: dict[str, Any] = {
        "status": 429,
        "headers": {"Retry-After": "5"},
        "json": {"detail": "Too many requests", "code": "rate_limited"},
    }
    calls = re.compile(r"/api/v1/(auth/me|chat/)")
    page.route(calls, lambda route: route.fulfill(**limited))
    page.goto(f"/playground#/c/{conversation}")
    page.reload()
    expect(page.locator("#waiting")).to_contain_text("Too many requests. The page goes on by itself at ")
    page.unroute(calls)
    expect(answers(page)).to_have_text("Echo: Hello")
    expect(page.locator(".conversations")).to_contain_text("Known")
    expect(page.locator("#waiting")).to_have_count(0)


def test_many_calls_in_two_tabs_refresh_the_token_once(
    open_context: Callable[..., BrowserContext], enter: Callable[..., Page], web_url: str, alice: Person
) -> None:
    context = open_context(web_url)
    first = enter(context, alice)
    second = context.new_page()
    second.goto("/playground")
    expect(second.locator("#message")).to_be_visible()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    for number, change in enumerate(({"expires_at": 0}, {"access_token": "refused"}), start=1):
        first.evaluate(CHANGE_TOKENS, change)
        # Both tabs call at the same time: the first one's promise is kept, and read after the second one's.
        first.evaluate(f"() => {{ window.calls = ({EIGHT_CALLS})(); }}")
        assert second.evaluate(EIGHT_CALLS) == [alice.email] * 8
        assert first.evaluate("() => window.calls") == [alice.email] * 8
        assert len([url for url in asked if url.endswith("/auth/refresh")]) == number


def test_tabs_keep_in_step_and_follow_the_same_reply(alices: Page) -> None:
    send(alices, "First")
    wait_for_answer(alices)
    other = alices.context.new_page()
    other.goto(alices.url)
    expect(answers(other)).to_have_text(["Echo: First"])
    send(alices, ENDLESS)
    wait_for_writing(other)
    text = stop(other)
    expect(alices.locator(".message.model .state")).to_have_text("Stopped")
    assert words(answers(alices).last) == text
    alices.get_by_role("button", name="About this conversation").click()
    alices.get_by_label("Title").fill("Renamed here")
    alices.get_by_role("button", name="Save").click()
    expect(other.get_by_role("heading", name="Renamed here")).to_be_visible()


def test_a_session_that_was_ended_elsewhere_asks_to_sign_in(alices: Page, alice: Person) -> None:
    alices.locator("#message").fill("A thought")
    assert alice.post("auth/logout-all").status_code == 200
    expect(alices.get_by_role("alert")).to_have_text("Your session has ended. Please sign in again.")
    alices.get_by_label("E-mail").fill(alice.email)
    alices.get_by_label("Password").fill(alice.password)
    alices.get_by_role("button", name="Sign in", exact=True).click()
    expect(alices.locator("#message")).to_have_value("A thought")


# What Safari on a phone does to a page that was in the background for long.
LOSE_DATABASE = """() => {
    const begin = IDBDatabase.prototype.transaction;
    let lost;
    IDBDatabase.prototype.transaction = function (...given) {
        lost ??= this;
        if (this === lost) throw new DOMException("Connection to Indexed Database server lost.", "UnknownError");
        return begin.apply(this, given);
    };
}"""


def test_the_page_goes_on_when_the_browser_has_ended_its_database(alices: Page) -> None:
    alices.evaluate(LOSE_DATABASE)
    send(alices, "Still here")
    expect(wait_for_answer(alices)).to_have_text("Echo: Still here")
    expect(alices.locator(".notices p")).to_have_count(0)
