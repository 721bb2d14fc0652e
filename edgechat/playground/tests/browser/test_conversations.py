"""The list of conversations."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from conftest import Person
from edgechat.playground.tests.browser.page import choose, pull, send, wait_for_answer


def test_conversations_are_renamed_pinned_archived_and_deleted(alices: Page, alice: Person) -> None:
    for title in ("Oldest", "Middle", "Newest"):
        alice.new_conversation(title=title)
    alices.reload()
    expect(alices.locator(".conversations .title")).to_have_text(["Newest", "Middle", "Oldest"])
    choose(alices, "Middle", "Rename")
    alices.get_by_label("Title").fill("In between")
    alices.get_by_role("button", name="Save").click()
    expect(alices.locator(".conversations")).to_contain_text("In between")
    choose(alices, "Oldest", "Pin")
    expect(alices.locator(".conversations .title").first).to_have_text("Oldest")
    choose(alices, "Newest", "Archive")
    expect(alices.locator(".conversations .title")).to_have_text(["Oldest", "In between"])
    alices.get_by_role("button", name="Archived").click()
    expect(alices.locator(".conversations .title")).to_have_text(["Newest"])
    choose(alices, "Newest", "Delete")
    alices.locator("dialog").get_by_role("button", name="Delete").click()
    expect(alices.locator(".conversations")).to_have_text("Nothing is archived.")
    left = alice.get("chat/conversations", params={"pinned_first": "true"}).json()["conversations"]
    assert [(each["title"], each["pinned"]) for each in left] == [("Oldest", True), ("In between", False)]


def test_a_title_from_elsewhere_does_not_replace_one_that_is_typed(alices: Page, alice: Person) -> None:
    conversation = alice.new_conversation(title="News")
    alices.reload()
    choose(alices, "News", "Rename")
    field = alices.get_by_label("Title")
    expect(field).to_be_focused()
    alices.keyboard.type(" of today")
    assert alice.patch(f"chat/conversations/{conversation}", json={"title": "From elsewhere"}).status_code == 200
    pull(alices)
    expect(alices.locator(".conversations .title")).to_have_text("From elsewhere")
    expect(field).to_have_value("News of today")
    alices.get_by_role("button", name="Save").click()
    expect(alices.locator(".conversations .title")).to_have_text("News of today")


def test_search_finds_titles_and_messages_and_leads_to_the_message(alices: Page, alice: Person) -> None:
    alice.new_conversation(title="Marmalade recipes")
    other = alice.new_conversation(title="Other things")
    for number in range(30):
        alice.say(other, "Where is the marmalade?" if number == 0 else f"Something else {number}")
    alices.reload()
    expect(alices.locator("#message")).to_be_visible()
    alices.keyboard.press("Control+k")
    alices.keyboard.type("marmalade")
    expect(alices.locator(".conversations .title")).to_have_text(["Marmalade recipes", "Other things", "Other things"])
    alices.locator(".conversations a").last.click()
    found = alices.locator(".message", has_text="marmalade").first
    expect(found).to_be_in_viewport()
    alices.get_by_label("Search conversations").fill("")
    expect(alices.locator(".conversations .title")).to_have_text(["Other things", "Marmalade recipes"])


def test_a_temporary_conversation_is_not_listed(alices: Page) -> None:
    alices.get_by_label("Temporary").check()
    send(alices, "Between us")
    wait_for_answer(alices)
    expect(alices.locator(".conversations")).to_have_text("No conversation yet.")
    alices.reload()
    expect(wait_for_answer(alices)).to_have_text("Echo: Between us")


@pytest.mark.parametrize("listed", [False, True])
def test_an_address_of_a_deleted_conversation_says_so(alices: Page, alice: Person, listed: bool) -> None:
    gone = alice.new_conversation(title="Gone")
    if listed:
        pull(alices)
        expect(alices.locator(".conversations")).to_contain_text("Gone")
    assert alice.delete(f"chat/conversations/{gone}").status_code == 204
    alices.evaluate(f"location.hash = '#/c/{gone}'")
    expect(alices.locator(".notices")).to_contain_text("This conversation is not there any more.")
    expect(alices.locator(".conversations")).not_to_contain_text("Gone")
