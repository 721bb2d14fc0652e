"""Signing in, sending, reading, and everything that can be done with a message."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Page, Route, expect

from accounts.models import User
from conftest import Person, new_address
from edgechat.playground.tests.browser.page import (
    ENDLESS,
    answers,
    pull,
    says,
    send,
    stop,
    wait_for_answer,
    wait_for_writing,
    words,
)
from usage.ledger.services import set_budget

MARKDOWN = """# Title

**Bold**, `code`, a [link](https://example.com) and [another](javascript:alert(1)).

```python
def double(number):
    return number * 2
```

| a | b |
|---|--:|
| 1 | 2 |

- [x] done

<img src="https://example.com/x.png" onerror="alert(1)"> ![picture](https://example.com/y.png)
"""


def test_a_person_signs_up_chats_signs_out_and_signs_in_again(page: Page) -> None:
    email = f"ann-{new_address()['X-Forwarded-For']}@example.com"
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Create account").click()
    send(page, "Good morning")
    expect(wait_for_answer(page)).to_have_text("Echo: Good morning")
    page.get_by_role("button", name=email).click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("a wrong password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Invalid email or password")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.locator(".conversations a").click()
    expect(answers(page)).to_have_text("Echo: Good morning")


def test_an_answer_appears_while_it_is_written_and_can_be_stopped(alices: Page) -> None:
    send(alices, ENDLESS)
    wait_for_writing(alices, 10)
    seen = len(words(answers(alices)))
    wait_for_writing(alices, seen + 20)
    assert len(stop(alices)) >= seen + 20


def test_markdown_is_shown_safely_with_coloured_code_and_a_copy_button(alices: Page) -> None:
    send(alices, says(MARKDOWN))
    content = wait_for_answer(alices)
    expect(content.get_by_role("heading", name="Title")).to_be_visible()
    expect(content.locator("strong")).to_have_text("Bold")
    expect(content.locator("table td")).to_have_text(["1", "2"])
    expect(content.locator("table td").last).to_have_css("text-align", re.compile("right$"))
    expect(content.get_by_role("listitem")).to_have_css("list-style-type", "none")
    expect(content.locator("img, script, [onerror]")).to_have_count(0)
    links = content.locator("a").evaluate_all("links => links.map((link) => [link.getAttribute('href'), link.rel])")
    known = "noopener noreferrer nofollow"
    assert links == [["https://example.com", known], [None, known], ["https://example.com/y.png", known]]
    expect(content.locator(".hljs-keyword").first).to_have_text("def")
    content.get_by_role("button", name="Copy").click()
    expect(alices.get_by_text("Copied")).to_be_visible()
    copied = alices.evaluate("navigator.clipboard.readText()")
    assert copied == "def double(number):\n    return number * 2"


def test_an_answer_is_written_again_and_its_versions_are_leafed_through(alices: Page) -> None:
    send(alices, "First question")
    wait_for_answer(alices)
    alices.get_by_role("button", name="Answer again").click()
    answer = alices.locator(".message.model")
    expect(answer.locator(".variants")).to_have_text(re.compile(r"2 / 2"))
    wait_for_answer(alices)
    alices.get_by_role("button", name="Edit").click()
    alices.get_by_label("Edit your message").fill("Second question")
    alices.get_by_role("button", name="Send again").click()
    expect(answer.locator(".variants")).to_have_text(re.compile(r"3 / 3"))
    expect(wait_for_answer(alices)).to_have_text("Echo: Second question")
    answer.get_by_label("Earlier version").click()
    expect(answer.locator(".content")).to_have_text("Echo: First question")
    question = alices.locator(".message.user")
    expect(question.locator(".bubble")).to_have_text("Second question")
    question.get_by_label("Earlier version").click()
    expect(question.locator(".bubble")).to_have_text("First question")
    answer.get_by_label("Later version").click()
    expect(answer.locator(".content")).to_have_text("Echo: Second question")


def test_feedback_is_given_with_a_comment_and_taken_back(alices: Page, alice: Person) -> None:
    send(alices, "Hello")
    wait_for_answer(alices)
    alices.get_by_role("button", name="Bad answer").click()
    alices.get_by_label("Your comment").fill("Too short")
    alices.get_by_role("button", name="Save").click()
    expect(alices.locator("dialog[open]")).to_have_count(0)  # it closes when the comment is stored
    expect(alices.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    [conversation] = alice.get("chat/conversations").json()["conversations"]
    stored = alice.messages(conversation["id"])["messages"][1]
    assert stored["feedback"] == {"rating": "down", "comment": "Too short"}
    alices.get_by_role("button", name="Good answer").click()
    expect(alices.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    alices.get_by_role("button", name="Good answer").click()
    expect(alices.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "false")


def test_a_failed_answer_says_why_and_is_tried_again(alices: Page) -> None:
    send(alices, f"Hello [[status=400]] [[fail_first=2]] [[key={uuid.uuid4().hex}]]")
    failed = "The answer failed. The model is not available, please try again. Try again"
    expect(alices.locator(".message.model .state")).to_have_text(failed)
    expect(alices.get_by_role("button", name="Good answer")).to_have_count(0)
    with alices.expect_response("**/regenerate"):
        alices.get_by_role("button", name="Try again").click()
    expect(alices.locator(".message.model .state")).to_have_text(failed)
    alices.get_by_role("button", name="Try again").click()
    expect(wait_for_answer(alices)).to_have_text("Echo: Hello")


def test_the_question_of_a_failed_answer_is_edited(alices: Page) -> None:
    send(alices, "Hello [[status=400]]")
    expect(alices.locator(".message.model .state")).to_contain_text("The answer failed.")
    alices.get_by_role("button", name="Edit").click()
    alices.get_by_label("Edit your message").fill("Hello")
    alices.get_by_role("button", name="Send again").click()
    expect(wait_for_answer(alices)).to_have_text("Echo: Hello")


def test_an_edited_question_stays_when_changes_from_elsewhere_arrive(alices: Page, alice: Person) -> None:
    send(alices, "First question")
    wait_for_answer(alices)
    alices.get_by_role("button", name="Edit").click()
    field = alices.get_by_label("Edit your message")
    field.fill("Second question")
    [conversation] = alice.get("chat/conversations").json()["conversations"]
    path = f"chat/conversations/{conversation['id']}"
    [_, answer] = alice.messages(conversation["id"])["messages"]
    assert alice.put(f"{path}/messages/{answer['id']}/feedback", json={"rating": "up"}).status_code == 200
    assert alice.patch(path, json={"title": "From elsewhere"}).status_code == 200
    pull(alices)
    expect(alices.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    expect(field).to_have_value("Second question")
    expect(field).to_be_focused()
    alices.get_by_role("button", name="Send again").click()
    expect(answers(alices)).to_have_text("Echo: Second question")


def test_an_edited_question_that_is_refused_stays(alices: Page, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    send(alices, "First question")
    wait_for_answer(alices)
    # Playwright runs an event loop in this thread, in which Django refuses queries.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    set_budget(subject=User.objects.get(pk=alice.id), period="month", token_limit=1)
    alices.get_by_role("button", name="Edit").click()
    alices.get_by_label("Edit your message").fill("Second question")
    alices.get_by_role("button", name="Send again").click()
    expect(alices.locator(".notices")).to_contain_text("budget of 1 tokens a month")
    expect(alices.get_by_label("Edit your message")).to_have_value("Second question")
    expect(answers(alices)).to_have_text("Echo: First question")


def test_what_is_typed_while_a_conversation_begins_stays(alices: Page) -> None:
    def type_first(route: Route) -> None:
        alices.locator("#message").fill("And then")
        route.continue_()

    alices.route("**/api/v1/chat/conversations", type_first)
    send(alices, "Hello")
    expect(wait_for_answer(alices)).to_have_text("Echo: Hello")
    expect(alices.locator("#message")).to_have_value("And then")


def test_what_is_being_written_survives_a_reload(alices: Page) -> None:
    alices.locator("#message").fill("A long thought")
    alices.reload()
    expect(alices.locator("#message")).to_have_value("A long thought")


def test_the_whole_reply_is_shown_once_after_a_reload_in_the_middle(alices: Page, alice: Person) -> None:
    send(alices, ENDLESS)
    wait_for_writing(alices)
    alices.reload()
    wait_for_writing(alices)
    content = stop(alices)
    [conversation] = alice.get("chat/conversations").json()["conversations"]
    stored = alice.messages(conversation["id"])["messages"]
    assert len(stored) == 2
    assert content == " ".join(stored[1]["content"].split())


# The Enter that ends a choice of characters, as Safari tells of it.
CHOOSE_CHARACTERS = """(field) => field.dispatchEvent(
    new KeyboardEvent("keydown", { key: "Enter", keyCode: 229, isComposing: false, bubbles: true, cancelable: true })
)"""


def test_the_enter_that_chooses_characters_does_not_send(alices: Page) -> None:
    field = alices.locator("#message")
    field.fill("日本")
    assert field.evaluate(CHOOSE_CHARACTERS) is True  # the browser goes on with the key
    expect(field).to_have_value("日本")
    field.press("Enter")
    expect(wait_for_answer(alices)).to_have_text("Echo: 日本")
    expect(alices.locator(".message.user")).to_have_count(1)
