"""/admin/conversations/: metadata and text, each with its permission, and an audit row for each reading."""

from __future__ import annotations

import html
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pymongo
import pytest
from django.conf import settings
from django.contrib.contenttypes.models import ContentType

from accounts.models import AuditEvent, User
from accounts.tests.staff import helper, superuser
from conftest import Api, Person
from conversations import transcript_repository as transcripts
from conversations.tests.events import EVENT_STREAM, read_events
from conversations.tests.staff_pages import (
    ABSENT,
    HOSTILE_IDS,
    LIST,
    READ,
    Tags,
    Words,
    audit_refused,
    cells,
    conversation_ids,
    listed,
    metadata,
    readings,
    secret_conversation,
    transcript,
)
from conversations.tests.stored_messages import store_messages
from edgechat.local.stack import start_mongo
from edgechat.local.web import WebServer
from edgechat.tests.web_settings import WITHOUT_MONGODB

SEE, SEE_AND_READ = ("view_conversation",), ("view_conversation", "view_transcript")


@pytest.mark.parametrize(
    ("permissions", "may_see", "may_read"),
    [
        ((), False, False),
        (("view_user", "view_auditevent", "change_user"), False, False),
        (("view_transcript",), False, False),
        (SEE, True, False),
        (SEE_AND_READ, True, True),
    ],
)
def test_metadata_and_text_have_a_permission_each(
    web_url: str, alice: Person, permissions: tuple[str, ...], may_see: bool, may_read: bool
) -> None:
    conversation, texts = secret_conversation(alice)
    pages = {
        LIST: may_see,
        f"{LIST}?q={alice.email}": may_see,
        f"{LIST}?q={conversation}": may_see,
        metadata(conversation): may_see,
        transcript(conversation): may_read,
    }
    with helper(web_url, *permissions) as staff:
        answers = {path: staff.get(path) for path in pages}
        assert {path: answer.status_code for path, answer in answers.items()} == {
            path: 200 if allowed else 403 for path, allowed in pages.items()
        }
        for answer in answers.values():
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert 'id="nav-sidebar"' in answer.text
            assert (answer.status_code == 403) == ("You may not do this." in answer.text)
        read = answers.pop(transcript(conversation)).text
        assert Words.of(read) == (texts if may_read else [])
        for answer in answers.values():
            assert [text for text in texts if text in answer.text] == []
        assert ("/transcript/" in answers[metadata(conversation)].text) is may_read
        assert (f'href="/admin/{LIST}"' in staff.get("").text) is may_see
        assert [event.actor_id for event in readings(conversation)] == ([staff.user.pk] if may_read else [])


def test_superusers_read_transcripts_too(web_url: str, alice: Person) -> None:
    conversation, texts = secret_conversation(alice)
    with superuser(web_url) as root:
        page = root.get(metadata(conversation))
        assert f'href="/admin/{transcript(conversation)}"' in page.text
        answer = root.get(transcript(conversation))
        assert (answer.status_code, Words.of(answer.text)) == (200, texts)
        # The scripted model repeats the message.
        assert [answer.text.count(text) for text in texts] == [1, 1, 2, 1]
        assert "no-store" in answer.headers["Cache-Control"]


def test_who_is_not_staff_is_led_to_the_login(web_url: str, anonymous: Api, alice: Person) -> None:
    conversation, _ = secret_conversation(alice)
    with helper(web_url, *SEE_AND_READ) as staff:
        User.objects.filter(pk=staff.user.pk).update(is_staff=False)
        for browser in (anonymous, alice, staff):
            for path in (LIST, metadata(conversation), transcript(conversation), metadata(ABSENT)):
                answer = browser.get(f"{web_url}/admin/{path}")
                assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/login/?next=/admin/{path}")
    assert readings(conversation) == []


def test_each_reading_is_one_audit_row_with_what_was_read(web_url: str, alice: Person) -> None:
    conversation = alice.new_conversation()
    said = [alice.say(conversation, f"message {number}").json() for number in range(26)]
    told = [pair[name]["content"] for pair in said for name in ("user_message", "model_message")]
    with helper(web_url, *SEE_AND_READ) as staff:
        first = staff.get(transcript(conversation))
        assert Words.of(first.text)[1:] == told[:50]
        assert "Messages 1 to 50 of 52" in first.text
        assert ("?after=50" in first.text, "Earlier" in first.text) == (True, False)
        later = staff.get(transcript(conversation), params={"after": "50"})
        assert Words.of(later.text)[1:] == told[50:]
        assert ("Later" in later.text, "?after=0" in later.text) == (False, True)
        staff.get(transcript(conversation))
        staff.get(metadata(conversation))
        rows = readings(conversation)
        assert [event.details for event in rows] == [
            {"conversation": conversation, "first_seq": first_seq, "last_seq": last_seq}
            for first_seq, last_seq in ((1, 50), (51, 52), (1, 50))
        ]
        assert {(event.actor_id, event.user_id) for event in rows} == {(staff.user.pk, alice.id)}
        assert rows[0].request_id == first.headers["X-Request-ID"]
        assert rows[0].ip == staff.headers["X-Forwarded-For"]


def test_the_audit_row_of_a_page_that_ends_at_1_mb_names_what_was_on_it(web_url: str, alice: Person) -> None:
    conversation = alice.new_conversation(title="Titled")
    store_messages(alice, conversation, [f"{seq}" + "x" * 240_000 for seq in range(1, 7)])
    with superuser(web_url) as root:
        first = root.get(transcript(conversation))
        assert [text.strip("x") for text in Words.of(first.text)[1:]] == ["1", "2", "3", "4"]
        later = root.get(transcript(conversation), params={"after": "4"})
        assert [text.strip("x") for text in Words.of(later.text)[1:]] == ["5", "6"]
    rows = [(event.details["first_seq"], event.details["last_seq"]) for event in readings(conversation)]
    assert rows == [(1, 4), (5, 6)]


def test_the_title_and_instruction_of_an_empty_conversation_are_a_reading_too(web_url: str, alice: Person) -> None:
    conversation = alice.new_conversation(title="a title", system_instruction="an instruction")
    with superuser(web_url) as root:
        answer = root.get(transcript(conversation))
        assert Words.of(answer.text) == ["a title", "an instruction"]
        assert "No messages" in answer.text
    details = {"conversation": conversation, "first_seq": 1, "last_seq": 0}
    assert [event.details for event in readings(conversation)] == [details]


def test_without_its_audit_row_nothing_is_shown(web_url: str, alice: Person) -> None:
    conversation, texts = secret_conversation(alice)
    with superuser(web_url) as root:
        with audit_refused(root.user.pk):
            answer = root.get(transcript(conversation))
            assert answer.status_code == 503
            assert "could not be written to the audit log, so nothing is shown" in answer.text
            assert [text for text in texts if text in answer.text] == []
            assert root.get(metadata(conversation)).status_code == 200
        assert readings(conversation) == []
        assert root.get(transcript(conversation)).status_code == 200
        assert len(readings(conversation)) == 1


def test_a_page_that_is_not_there_is_404_and_no_reading(web_url: str, alice: Person) -> None:
    conversation, texts = secret_conversation(alice)
    with superuser(web_url) as root:
        for after in ("-1", "x", "1e1", "1.0", "2", "99999999", "9" * 18, "9" * 60, "\x00", "١", "", "[]"):
            answer = root.get(transcript(conversation), params={"after": after})
            assert (after, answer.status_code) == (after, 404)
            assert [text for text in texts if text in answer.text] == []
    assert readings(conversation) == []


def test_a_hostile_or_absent_id_is_404(web_url: str) -> None:
    with superuser(web_url) as root:
        for hostile in HOSTILE_IDS:
            for path in (metadata(hostile), transcript(hostile)):
                answer = root.get(path)
                assert (path, answer.status_code) == (path, 404)
                assert "<script>alert" not in answer.text
        assert not AuditEvent.objects.filter(event=READ, actor_id=root.user.pk).exists()


def test_a_search_that_finds_nothing_says_so(web_url: str) -> None:
    script = "<script>alert(1)</script>"
    nobody = uuid.uuid4().hex
    with helper(web_url, *SEE) as staff:
        for term in (f"{nobody}@example.com", nobody, ABSENT, "\x00", "a@\x00", script, "9" * 18, "9" * 60, "é" * 500):
            answer = staff.get(LIST, params={"q": term})
            assert (term, answer.status_code) == (term, 200)
            assert f"Nothing found for “{html.escape(term)}”" in answer.text
            assert "No data" in answer.text
            assert script not in answer.text


def test_a_faulty_cursor_is_404(web_url: str, alice: Person) -> None:
    with helper(web_url, *SEE) as staff:
        for before in ("-1", "x", "\x00", "9" * 60, "1 OR 1=1"):
            answer = staff.get(LIST, params={"q": alice.email, "before": before})
            assert (before, answer.status_code) == (before, 404)


def test_conversations_are_found_by_owner_and_by_id_and_never_beside_them(
    web_url: str, alice: Person, bob: Person
) -> None:
    hers, archived = alice.new_conversation(), alice.new_conversation(temporary=True)
    alice.patch(f"chat/conversations/{archived}", json={"archived": True})
    his = bob.new_conversation()
    with helper(web_url, *SEE) as staff:
        for term in (alice.email, alice.email.upper(), f" {alice.email} ", str(alice.id)):
            assert listed(staff, q=term) == [archived, hers]
        assert listed(staff, q=hers) == [hers]
        assert listed(staff, q=his) == [his]
        page = staff.get(LIST, params={"q": alice.email}).text
        assert "archived, temporary" in page
        assert bob.email not in page
        assert f"/admin/accounts/user/{alice.id}/change/" not in page
        alice.delete(f"chat/conversations/{hers}")
        assert listed(staff, q=alice.email) == [archived]
        assert staff.get(metadata(hers)).status_code == 404
    with helper(web_url, *SEE, "view_user") as staff:
        for page in (staff.get(LIST, params={"q": his}).text, staff.get(metadata(his)).text):
            assert f'href="/admin/accounts/user/{bob.id}/change/">{bob.email}</a>' in page


def test_paging_neither_skips_nor_repeats_while_conversations_change(web_url: str, alice: Person) -> None:
    made = [
        str(conversation["_id"])
        for conversation in map(transcripts.insert_conversation, [alice.id] * 120)
        if conversation
    ]
    with helper(web_url, *SEE) as staff:
        page = staff.get(LIST, params={"q": alice.email}).text
        seen = conversation_ids(page)
        assert len(seen) == 50
        alice.patch(f"chat/conversations/{made[0]}", json={"pinned": True})  # moves it to the top
        transcripts.insert_conversation(alice.id)
        while older := re.search(r'href="\?(q=[^"]*before=[^"]*)">Older', page):
            page = staff.get(f"{LIST}?{older[1].replace('&amp;', '&')}").text
            assert "Newest" in page
            seen += conversation_ids(page)
    assert seen == made[:0:-1]


def test_conversations_of_somebody_who_is_gone_are_still_found(web_url: str) -> None:
    owner_id = 10**15 + uuid.uuid4().int % 10**12
    transcripts.insert_conversation(owner_id)
    with superuser(web_url) as root:
        (conversation,) = listed(root, q=str(owner_id))
        assert f"deleted user {owner_id}" in root.get(metadata(conversation)).text
    transcripts.delete_everything_of(owner_id)


def test_what_users_write_is_never_markup(web_url: str, alice: Person) -> None:
    nasty = (
        "</div></article><script>alert(1)</script><img src=x onerror=alert(2)>\n  {{ 7|add:7 }} {% now 'Y' %} &amp;"
        " \"'><a href=javascript:alert(3)>x</a> <p x-init='alert(4)' hx-get='/admin/logout/'> \u202etxt " + "w" * 3000
    )
    harmless, hostile = (
        alice.new_conversation(title="t", system_instruction="s"),
        alice.new_conversation(title=nasty[:200], system_instruction=nasty),
    )
    alice.say(harmless, "hello")
    answer = alice.say(hostile, nasty).json()
    mid = answer["model_message"]["id"]
    rating = {"rating": "down", "comment": nasty[:500]}
    assert alice.put(f"chat/conversations/{hostile}/messages/{mid}/feedback", json=rating).status_code == 200
    with superuser(web_url) as root:
        plain, page = (root.get(transcript(conversation)).text for conversation in (harmless, hostile))
    told = [nasty[:200], nasty, nasty, answer["model_message"]["content"], f"Feedback: down, “{nasty[:500]}”"]
    assert Words.of(page) == told
    assert Tags.of(page) - Tags.of(plain) == {"footer", "span.transcript-text"}
    assert page.count("<script") == plain.count("<script")


def test_nothing_can_be_changed_here(web_url: str, alice: Person) -> None:
    conversation, _ = secret_conversation(alice)
    before = alice.get(f"chat/conversations/{conversation}").json(), alice.messages(conversation)
    with superuser(web_url) as root:
        for path in (LIST, metadata(conversation), transcript(conversation)):
            assert root.post_form(path, {"title": "x", "action": "delete_selected"}).status_code == 405
            for method in ("PUT", "PATCH", "DELETE"):
                headers = {"X-CSRFToken": root.cookies["csrftoken"]}
                assert root.request(method, path, headers=headers).status_code == 405
        for verb in ("delete", "change", "history"):
            assert root.get(f"{metadata(conversation)}{verb}/").status_code == 404
    assert readings(conversation) == []
    assert (alice.get(f"chat/conversations/{conversation}").json(), alice.messages(conversation)) == before


def test_the_admin_s_other_pages_know_that_there_is_no_table(web_url: str, alice: Person) -> None:
    conversation, _ = secret_conversation(alice)
    content_type = ContentType.objects.get(app_label="conversations", model="conversation")
    with superuser(web_url) as root:
        assert root.get(f"r/{content_type.pk}/{conversation}/").status_code == 404
        assert f'href="/admin/{LIST}"' in root.get("conversations/").text
        assert root.get("search/", params={"s": "conversation", "extended": "1"}).status_code == 200
        for page in ("x", "0", "-1", "9" * 30):
            assert root.get("search/", params={"s": "conversation", "page": page}).status_code == 404


@pytest.fixture
def own_mongo_url(data_dir: Path) -> Iterator[str]:
    mongo = start_mongo(data_dir)
    yield mongo.url
    mongo.kill()


def test_a_running_reply_is_told_with_its_process_and_attempt(
    own_mongo_url: str, start_web: Callable[..., WebServer]
) -> None:
    """Uses its own MongoDB, because other tests leave too many running replies for one page."""
    web = start_web(MONGODB_URL=own_mongo_url, IMPORT_MAX_MB="0")
    with (
        pymongo.MongoClient[dict[str, Any]](own_mongo_url) as mongo,
        closing(Person(web.url, "carol")) as carol,
        helper(web.url, *SEE, "view_user") as staff,
    ):
        collection = mongo[settings.MONGODB_DB]["conversations"]
        idle, busy = carol.new_conversation(), carol.new_conversation(title="secret title")
        assert listed(staff) == []
        mid = begin(carol, busy, "[[chunks=600]][[gap=0.2]]" + "secret words " * 600)
        assert listed(staff) == [busy]
        stored = collection.find_one({"_id": busy})
        assert stored is not None
        reply = stored["reply"]
        begun = f"{reply['started_at']:%Y-%m-%d %H:%M:%S} UTC"
        assert f"since {begun} by {reply['worker']}, attempt 1" in staff.get(LIST).text
        told = cells(staff.get(metadata(busy)).text)
        assert told == {
            "Id": busy,
            "Owner": carol.email,
            "Organization": "-",
            "Messages": "2",
            "Created": f"{stored['created_at']:%Y-%m-%d %H:%M:%S} UTC",
            "Last change": f"{stored['updated_at']:%Y-%m-%d %H:%M:%S} UTC",
            "Archived": "no",
            "Pinned": "no",
            "Temporary": "no",
            "Running reply": mid,
            "Started": begun,
            "Written by": reply["worker"],
            "Attempt": "1",
            "To be stopped": "no",
        }
        assert "secret" not in staff.get(LIST).text + staff.get(metadata(busy)).text
        assert cells(staff.get(metadata(idle)).text)["Running reply"] == "none"
        assert carol.post(f"chat/conversations/{busy}/messages/{mid}/stop").status_code == 200
        collection.insert_many(
            [
                {
                    **stored,
                    "_id": f"{number:024x}",
                    "reply": reply,
                }
                for number in range(60)
            ]
        )
        page = staff.get(LIST).text
        assert len(conversation_ids(page)) == 50
        assert "There are more than these 50." in page


def test_with_mongo_gone_the_pages_say_so(web_with: Callable[..., str]) -> None:
    with superuser(web_with(**WITHOUT_MONGODB)) as root:
        paths = [LIST, f"{LIST}?q={root.user.email}", metadata(ABSENT), transcript(ABSENT)]
        with ThreadPoolExecutor(len(paths)) as pool:  # each of them waits for some time
            answers = list(pool.map(root.get, paths))
        assert [answer.status_code for answer in answers] == [503] * len(paths)
        for answer in answers:
            assert "MongoDB, where conversations are kept, does not answer." in answer.text
            assert 'id="nav-sidebar"' in answer.text
            assert "Traceback" not in answer.text
        assert root.get("").status_code == 200


def test_every_asset_is_served_from_here_and_no_script_stands_in_a_page(web_url: str, alice: Person) -> None:
    conversation, _ = secret_conversation(alice)
    with superuser(web_url) as root:
        for path in (LIST, metadata(conversation), transcript(conversation), metadata(ABSENT)):
            text = root.get(path).text
            assets = set(re.findall(r"""<(?:script|link|img)\b[^>]*?\b(?:src|href)=["']([^"']*)["']""", text))
            assert [asset for asset in assets if not asset.startswith("/static/")] == []
            assert {root.get(f"{web_url}{asset}").status_code for asset in assets} == {200}
            assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", text) == []


def begin(person: Person, conversation: str, content: str) -> str:
    """Send a message and close the connection once the reply is running: the model message's id."""
    path = f"chat/conversations/{conversation}/messages"
    with person.stream("POST", path, json={"content": content}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        opening = next(told for told in events if told.get("event") == "message")
    mid: str = opening["data"]["model_message"]["id"]
    return mid


def test_conversations_are_found_by_a_part_of_the_owners_address(web_url: str, register: Callable[..., Person]) -> None:
    part = uuid.uuid4().hex
    first, second = register(f"one-{part}"), register(f"two-{part}")
    conversation = first.new_conversation()
    with helper(web_url, *SEE, "view_user") as staff:
        found = staff.get(LIST, params={"q": first.email[:20].upper()}).text
        assert conversation in found
        both = staff.get(LIST, params={"q": part}).text
        assert conversation not in both
        assert f"2 users with “{part}” in their address" in both
        assert f'href="?q={first.id}"' in both
        assert second.email in both
