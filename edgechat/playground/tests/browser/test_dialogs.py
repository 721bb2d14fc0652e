"""What stands beside the conversation: summaries, todos, usage, sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from conftest import Person
from edgechat.playground.tests.browser.page import send, wait_for_answer


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


def test_todos_are_found_in_a_conversation_added_and_completed(alices: Page, alice: Person) -> None:
    send(alices, "I must buy bread.")
    wait_for_answer(alices)
    alices.get_by_role("button", name="Find todos in this conversation").click()
    expect(alices.locator("dialog [role=status]").first).to_have_text(re.compile("added to your todos"))
    alices.get_by_role("button", name="Show all todos").click()
    alices.get_by_label("New todo").fill("Call the plumber")
    alices.get_by_role("button", name="Add", exact=True).click()
    alices.get_by_label("Call the plumber", exact=True).check()
    expect(alices.get_by_label("Call the plumber", exact=True)).to_be_checked()
    alices.get_by_label("Archive Call the plumber").click()
    expect(alices.locator("ul.todos")).not_to_contain_text("Call the plumber")
    [archived] = alice.get("todos", params={"archived": "true"}).json()
    assert (archived["title"], archived["completed"]) == ("Call the plumber", True)
    assert [todo["conversation_id"] is not None for todo in alice.get("todos").json()] == [True]


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
