"""/admin/conversations/conversation/quality/: failed, blocked and interrupted replies, and thumbs down."""

from __future__ import annotations

import re
import uuid
from html import unescape
from typing import Any

from accounts.models import AuditEvent
from accounts.tests.staff import helper
from conftest import Person
from conversations.tests.staff_pages import LIST, READ
from edgechat.stores.mongo import database

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
            page = staff.get(PAGE, params={"kind": kind}).text
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
            assert "Show the texts" in staff.get(PAGE, params={"kind": kind}).text
            assert SECRET in staff.get(PAGE, params={"kind": kind, "texts": "yes"}).text
        events = AuditEvent.objects.filter(event=READ, user_id=alice.id, actor_id=staff.user.pk).order_by("id")
    assert [event.details for event in events] == [
        {"messages": [replies[kind][1]]} for kind in ("interrupted", "disliked")
    ]


def test_replies_are_counted_and_chosen_by_the_model_of_their_call(web_url: str, alice: Person) -> None:
    conversation, _ = _replies(alice)["disliked"]
    with helper(web_url, "view_conversation") as staff:
        page = staff.get(PAGE, params={"kind": "disliked"}).text
        model = page.split("model=")[1].split('"')[0]
        assert model
        assert conversation in staff.get(f"{PAGE}?kind=disliked&model={model}").text


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
