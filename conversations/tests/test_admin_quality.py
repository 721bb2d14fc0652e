"""/admin/conversations/conversation/quality/: failed, blocked and interrupted replies, and thumbs down."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.tests.staff import helper, make_user
from conftest import Person, new_address
from conversations.staff import quality_page
from conversations.staff.quality_page import csv_batches
from conversations.tests.staff_pages import LIST, READ
from edgechat.stores.mongo import database
from usage.models import LedgerEntry

PAGE = f"{LIST}quality/"
SECRET = "a secret comment"


def _replies(person: Person) -> dict[str, tuple[str, str]]:
    """For each kind, a conversation with such a reply, and the reply's id. All contain SECRET in some text."""
    found: dict[str, tuple[str, str]] = {}
    asked = {"failed": "[[status=500]]", "blocked": "[[block=answer]]", "interrupted": "ask", "disliked": "ask"}
    for kind, content in asked.items():
        conversation = person.new_conversation()
        person.post(f"chat/conversations/{conversation}/messages", json={"content": f"{content} {SECRET}"})
        reply = person.messages(conversation)["messages"][-1]
        found[kind] = conversation, reply["id"]
        if kind == "interrupted":
            database()["messages"].update_one({"_id": reply["id"]}, {"$set": {"status": kind, "content": SECRET}})
        if kind == "disliked":
            path = f"chat/conversations/{conversation}/messages/{reply['id']}/feedback"
            assert person.put(path, json={"rating": "down", "comment": SECRET}).status_code == 200
        else:
            assert reply["status"] in (kind, "complete")
    return found


def test_each_list_has_its_replies_without_texts(web_url: str, alice: Person) -> None:
    replies = _replies(alice)
    with helper(web_url, "view_conversation", "view_user") as staff:
        for kind in replies:
            page = staff.get(PAGE, params={"kind": kind, "user": alice.id}).text
            listed = {other for other, (conversation, _) in replies.items() if f"/{conversation}/" in page}
            assert listed == {kind}
            assert alice.email in page
            assert SECRET not in page
            assert "Show the texts" not in page
            assert staff.get(PAGE, params={"kind": kind, "texts": "yes"}).status_code == 403
        assert "0 replies on 2001-02-03" in staff.get(PAGE, params={"day": "2001-02-03"}).text
        more = staff.get(PAGE, params={"from": "2001-02-03", "to": "2001-02-04"}).text
        assert "0 replies from 2001-02-03 to 2001-02-04" in more
        wrong: list[dict[str, Any]] = [
            {"kind": "complete"},
            {"day": "yesterday"},
            {"day": "9999-12-31"},
            {"kind": ""},
            {"user": "x"},
        ]
        for query in wrong:
            assert staff.get(PAGE, params=query).status_code == 404
        page = staff.get(PAGE, params={"kind": "disliked", "model": uuid.uuid4().hex}).text
        assert replies["disliked"][0] not in page
    with helper(web_url, "view_user") as staff:
        assert staff.get(PAGE).status_code == 403


def test_texts_are_shown_after_an_audit_row(web_url: str, alice: Person) -> None:
    replies = _replies(alice)
    with helper(web_url, "view_conversation", "view_transcript") as staff:
        for kind in ("interrupted", "disliked"):
            chosen: dict[str, str | int] = {"kind": kind, "user": alice.id}
            assert "Show the texts" in staff.get(PAGE, params=chosen).text
            assert SECRET in staff.get(PAGE, params={**chosen, "texts": "yes"}).text
        events = AuditEvent.objects.filter(event=READ, user_id=alice.id, actor_id=staff.user.pk).order_by("id")
    assert [event.details for event in events] == [
        {"messages": [replies[kind][1]]} for kind in ("interrupted", "disliked")
    ]


def test_replies_are_counted_and_chosen_by_the_model_of_their_call(web_url: str, alice: Person) -> None:
    conversation, _ = _replies(alice)["disliked"]
    with helper(web_url, "view_conversation") as staff:
        chosen = f"kind=disliked&user={alice.id}"
        page = staff.get(f"{PAGE}?{chosen}").text
        model = page.split("model=")[1].split('"')[0]
        assert model
        assert conversation in staff.get(f"{PAGE}?{chosen}&model={model}").text


def test_replies_of_one_user_are_counted_by_day_and_model_and_are_a_file(
    web_url: str, alice: Person, bob: Person
) -> None:
    of_alice, of_bob = _replies(alice), _replies(bob)
    with helper(web_url, "view_conversation", "view_user", "view_ledgerentry", "view_requestrecord") as staff:
        for kind in of_alice:
            query: dict[str, str | int] = {"kind": kind, "user": alice.id}
            page = staff.get(PAGE, params=query).text
            assert f"/{of_alice[kind][0]}/" in page
            assert f"/{of_bob[kind][0]}/" not in page
            table = page.partition("By day and model")[2].partition("</table>")[0]
            day = alice.messages(of_alice[kind][0])["messages"][-1]["created_at"][:10]
            assert day in re.sub(r"<[^>]*>", "", table)
            links = [unescape(link) for link in re.findall(r'href="([^"]*)"', table)]
            assert len(links) == 2  # of the model and of the day
            for link in links:
                assert f"/{of_alice[kind][0]}/" in staff.get(PAGE + link).text
            file = staff.get(f"{LIST}quality.csv", params=query).text.splitlines()
            assert file[0] == "Reply of,Conversation,Owner,Model,Attempt,Why,Rating,Request id"
            assert len(file) == 2
            assert f",{of_alice[kind][0]},{alice.email}," in file[1]
            assert SECRET not in file[1]
        assert "Model unavailable" in staff.get(PAGE, params={"kind": "failed", "user": alice.id}).text
        own = staff.get(f"usage/ledgerentry/users/{alice.id}/").text
        for words in ("1 × failed", "1 × blocked", "1 × interrupted", "1 × thumbs down"):
            assert words in own
    with helper(web_url, "view_ledgerentry", "view_requestrecord") as staff:
        assert "thumbs down" not in staff.get(f"usage/ledgerentry/users/{alice.id}/").text
        assert staff.get(f"{LIST}quality.csv").status_code == 403


def _failed(owner: Person, *days: int) -> list[str]:
    """Store a failed reply for each number of days ago, with a call to a model; the ids, in this order."""
    conversation, now = owner.new_conversation(), timezone.now().replace(hour=12)
    replies, calls = [], []
    for number, age in enumerate(days):
        reply, at = f"{conversation}:{number + 1:08d}", now - timedelta(days=age)
        replies.append(
            {
                "_id": reply,
                "conversation_id": conversation,
                "owner_id": owner.id,
                "seq": number + 1,
                "role": "model",
                "content": "",
                "status": "failed",
                "attempt": 1,
                "created_at": at,
            }
        )
        calls.append(
            LedgerEntry(
                attempt_id=f"{reply}:1:x",
                user_id=owner.id,
                purpose="chat",
                model=f"model-{number % 2}",
                abandoned_after=at,
                settled_at=at,
            )
        )
    database()["messages"].insert_many(replies)
    LedgerEntry.objects.bulk_create(calls)
    return [str(reply["_id"]) for reply in replies]


def _table(page: str) -> list[list[str]]:
    """The cells of the table by day and model."""
    body = page.partition("By day and model")[2].partition("</table>")[0].partition("<tbody")[2]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in body.split("<tr")[1:]]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in rows]


def test_counts_of_a_span_with_more_replies_than_are_read_are_true(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failed(alice, *[20] * 6, 10, 10, 10, *[5] * 3, 4)
    dates = {age: str((timezone.now() - timedelta(days=age)).astimezone(UTC).date()) for age in (20, 10, 5, 4)}
    browser = Client(headers=new_address())
    browser.force_login(make_user("root", is_staff=True, is_superuser=True))

    def page(**query: Any) -> str:
        asked = {"kind": "failed", "user": alice.id, **query}
        return unescape(browser.get(f"/admin/{PAGE}", asked).content.decode())

    whole = page()
    assert "Failed: 13 replies" in whole
    assert "not complete" not in whole
    assert _table(whole) == [
        [dates[4], "1", "-", "1"],
        [dates[5], "1", "2", "3"],
        [dates[10], "2", "1", "3"],
        [dates[20], "3", "3", "6"],
    ]
    monkeypatch.setattr(quality_page, "MAX_READ", 5)
    cut = page()
    assert "Failed: 13 replies" in cut
    assert f"the counts of {dates[10]} and of the days before are not complete" in cut
    assert _table(cut) == [
        [dates[4], "1", "-", "1"],
        [dates[5], "1", "2", "3"],
        [dates[10], "?", "?", "3"],
        [dates[20], "?", "?", "6"],
    ]
    link = re.search(r'href="\?([^"]*)">the days after are<', cut)
    assert link
    complete = page(**dict(parse_qsl(link[1])))
    assert "Failed: 4 replies" in complete
    assert "not complete" not in complete
    of_model = page(model="model-1")
    assert "Failed: replies from" in of_model
    assert [row[0] for row in _table(of_model)] == [dates[5]]
    monkeypatch.setattr(quality_page, "ROWS_PER_BATCH", 2)
    asked = RequestFactory().get(f"/?kind=failed&user={alice.id}")
    asked.user = make_user("reader")
    rows = [row for rows in csv_batches(asked, lambda ids: dict.fromkeys(ids, "somebody")) for row in rows]
    assert len(rows) == 13  # some of the same time, on two pages


def test_staff_who_may_not_see_users_learn_no_address(web_url: str, alice: Person) -> None:
    replies = _replies(alice)
    conversation = replies["disliked"][0]
    with helper(web_url, "view_conversation", "view_transcript") as reader:
        pages = [
            LIST,
            f"{LIST}?q={alice.email}",
            f"{LIST}?q={alice.id}",
            f"{LIST}?q={conversation}",
            f"{LIST}{conversation}/",
            f"{LIST}{conversation}/transcript/",
            f"{LIST}export.csv?q={alice.id}",
            f"{PAGE}?kind=disliked&user={alice.id}",
            f"{LIST}quality.csv?kind=disliked&user={alice.id}",
        ]
        texts = {path: reader.get(path) for path in pages}
        assert {answer.status_code for answer in texts.values()} == {200}
        for path, answer in texts.items():
            shown = answer.text.replace(f'value="{alice.email}"', "")  # the term in the form
            assert alice.email not in shown.replace(quote(alice.email), ""), path
        for path in pages[1:4]:
            assert f"user {alice.id}" in texts[path].text, path
            assert conversation in texts[path].text, path
        part = reader.get(LIST, params={"q": alice.email[:-3]}).text
        assert "Nothing found for" in part
        assert conversation not in part
        assert "by their owner's whole e-mail address" in unescape(part)
    with helper(web_url, "view_conversation", "view_user") as support:
        assert alice.email in support.get(LIST, params={"q": alice.email[:-3]}).text
