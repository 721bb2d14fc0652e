"""POST /chat/imports and GET /chat/imports/{id}."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from conftest import Person, assert_error, full_size
from conversations.imports import run, services
from conversations.imports.files import delete_file, save_file, stored_files
from conversations.imports.reading.items import PART_BYTES, read_items
from conversations.models import Import
from conversations.tests.exports import START, chatgpt, chatgpt_node, finished, imported, listed, send_import, texts
from conversations.transcript_repository.collections import conversations, messages
from edgechat.tests.raw_client import RawClient
from edgechat.tests.store_proxy import StoreProxy
from edgechat.tests.web_settings import SMALL
from usage.models import LedgerEntry

Eventually = Callable[..., Any]


def zipped(files: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


CLAUDE = {
    "uuid": "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11",
    "name": "Ferries",
    "created_at": "2024-03-01T10:00:00.123456Z",
    "updated_at": "2024-03-01T10:05:00.000000Z",
    "account": {"uuid": "x"},
    "chat_messages": [
        {
            "uuid": "m1",
            "sender": "human",
            "text": "When?",
            "content": [{"type": "text", "text": "When does the ferry go?"}],
            "created_at": "2024-03-01T10:00:01Z",
            "attachments": [{"file_name": "table.txt", "extracted_content": "09:30 Harbour"}],
            "files": [{"file_name": "harbour.png"}],
        },
        {
            "uuid": "m2",
            "sender": "assistant",
            "text": "",
            "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "At 09:30."}],
            "created_at": "2024-03-01T10:00:02Z",
        },
    ],
}
OLDER = {
    "_id": {"$oid": "65f1c0ffee0123456789abcd"},
    "user_id": 7,
    "title": None,
    "messages": [
        {"role": "user", "content": "Hello", "timestamp": {"$date": "2023-01-01T00:00:00Z"}},
        {"role": "model", "parts": [{"text": "Good day"}], "timestamp": {"$date": {"$numberLong": "1672531260000"}}},
    ],
}


def test_chatgpts_current_branch_is_imported_with_its_instructions(alice: Person, eventually: Eventually) -> None:
    exported = chatgpt("c-1", "What is a lease?", "A lock that ends.", "And a fence?")
    nodes = exported["mapping"]
    nodes["system"] = chatgpt_node("system", "Be brief.", parent="root")
    nodes["0"]["parent"] = "system"
    nodes["other"] = chatgpt_node("assistant", "Another answer", parent="0")
    nodes["call"] = chatgpt_node("assistant", "search()", parent="0", recipient="web")
    nodes["result"] = chatgpt_node("tool", "found", parent="call")
    thought = {"content_type": "thoughts", "thoughts": [{"summary": "x"}]}
    nodes["thought"] = chatgpt_node("assistant", parent="result", content=thought)
    nodes["1"]["parent"] = "thought"
    nodes["1"]["message"]["content"]["parts"] = ["A lock\ue200cite\ue202turn0search1\ue201 that ends."]
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x", "width": 640, "height": 480}
    nodes["2"]["message"]["content"] = {"content_type": "multimodal_text", "parts": [picture, "And a fence?"]}
    nodes["2"]["message"]["create_time"] = None

    told = imported(alice, eventually, [exported])
    assert told["counts"] == {"conversations": 1, "messages": 4, "skipped": 0}
    assert (told["status"], told["progress"], told["source"]) == ("finished", 100, None)
    assert told["report"] == [
        "1 picture is a placeholder, because the file does not contain it.",
        "2 calls of tools and their results were left out.",
        "1 thought of the model was left out.",
        "1 message was left out, because it is not on the current branch of its conversation.",
    ]
    [conversation] = listed(alice)
    assert (conversation["title"], conversation["system_instruction"]) == ("From elsewhere", "Be brief.")
    assert (conversation["created_at"], conversation["updated_at"]) == (
        "2023-11-14T22:13:20.500000Z",
        "2023-11-14T22:13:23.500000Z",
    )
    assert (conversation["message_count"], conversation["last_seq"]) == (4, 4)
    assert texts(alice, conversation["id"]) == [
        ("user", "complete", "What is a lease?"),
        ("model", "complete", "A lock that ends."),
        ("user", "complete", "[Picture: 640 × 480]\n\nAnd a fence?"),
        ("model", "interrupted", ""),
    ]


def test_an_imported_conversation_goes_on_like_any_other(alice: Person, eventually: Eventually) -> None:
    since = alice.get("chat/changes").json()["next_since"]
    exported = [chatgpt("c-1", "Where is the lighthouse?"), CLAUDE, OLDER]
    told = imported(alice, eventually, exported)
    assert told["counts"] == {"conversations": 3, "messages": 6, "skipped": 0}
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 0

    by_title = {conversation["title"]: conversation["id"] for conversation in listed(alice)}
    assert list(by_title) == ["Ferries", "From elsewhere", None], "the latest first"
    changed = alice.get("chat/changes", params={"since": since}).json()
    assert {each["id"] for each in changed["conversations"]} == set(by_title.values())
    found = alice.get("chat/search", params={"q": "harbour"}).json()["results"]
    assert [each["conversation_id"] for each in found] == [by_title["Ferries"]]
    assert texts(alice, by_title["Ferries"])[0][2] == (
        "When does the ferry go?\n\n[File: table.txt]\n\n09:30 Harbour\n\n[Picture]"
    )
    assert texts(alice, by_title[None]) == [("user", "complete", "Hello"), ("model", "complete", "Good day")]
    assert by_title[None] != "65f1c0ffee0123456789abcd", "a file must not choose ids that another user may have"

    unanswered = by_title["From elsewhere"]
    last = alice.messages(unanswered)["messages"][-1]["id"]
    again = alice.post(f"chat/conversations/{unanswered}/messages/{last}/regenerate", json={})
    assert (again.status_code, again.json()["model_message"]["status"]) == (200, "complete")
    assert alice.say(by_title["Ferries"], "And back?").json()["user_message"]["seq"] == 3
    assert alice.get(f"chat/conversations/{unanswered}/export").json()["messages"][0]["content"].startswith("Where")
    assert alice.delete(f"chat/conversations/{unanswered}").status_code == 204
    assert unanswered in alice.get("chat/changes", params={"since": since}).json()["deleted"]


def test_the_beginning_of_a_citation_that_does_not_end_is_text(alice: Person, eventually: Eventually) -> None:
    words = "It \ue200 ends \ue200cite\ue202turn0search1\ue201here"
    endless = "\ue200" * 100_000  # reading this takes as long as any other text of its length
    imported(alice, eventually, [chatgpt("c-1", words, endless)])
    assert texts(alice, listed(alice)[0]["id"]) == [
        ("user", "complete", "It \ue200 ends here"),
        ("model", "complete", endless),
    ]


def test_a_file_again_gives_nothing_twice(alice: Person, eventually: Eventually) -> None:
    exported = [chatgpt(f"c-{number}", "Hello", "Hi") for number in range(5)]
    first = imported(alice, eventually, exported)
    kept = listed(alice)
    alice.delete(f"chat/conversations/{kept[0]['id']}")
    again = imported(alice, eventually, [*exported, chatgpt("c-9", "New", "Indeed")], source="chatgpt")
    assert first["counts"] == {"conversations": 5, "messages": 10, "skipped": 0}
    assert again["counts"] == {"conversations": 2, "messages": 4, "skipped": 4}, "the deleted one and the new one"
    assert again["report"] == ["4 conversations are here from an earlier import, and were not changed."]
    now = {conversation["id"] for conversation in listed(alice)}
    assert len(now) == 6
    assert now >= {conversation["id"] for conversation in kept[1:]}
    assert kept[0]["id"] not in now, "other devices know that id as deleted"


def test_the_same_file_at_the_same_time_gives_nothing_twice(alice: Person, eventually: Eventually) -> None:
    exported = [chatgpt(f"c-{number}", "Hello", "Hi") for number in range(40)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: send_import(alice, exported), range(3)))
    told = [finished(alice, eventually, answer.json()["id"]) for answer in answers]
    # On a slow machine one of them goes on where another one is.
    assert sum(each["counts"]["conversations"] for each in told) == 40
    assert [each["counts"]["conversations"] + each["counts"]["skipped"] for each in told] == [40] * 3
    assert len(listed(alice)) == 40
    assert conversations().count_documents({"owner_id": alice.id}) == 40


def test_an_account_has_three_unfinished_imports_at_most(alice: Person, web_url: str) -> None:
    rows = [Import(owner_id=alice.id, bytes=1, not_before=timezone.now() + timedelta(days=1)) for _ in range(3)]
    Import.objects.bulk_create(rows)
    answer = send_import(alice, [])
    assert_error(answer, 429, "too_many_imports", services.TooManyImports.detail)
    assert int(answer.headers["Retry-After"]) > 0
    with RawClient(web_url, token=alice.tokens["access_token"]) as client:
        kind: Any = {"Content_Type": "multipart/form-data; boundary=b"}
        client.begin("POST", "chat/imports", b"--b", **kind, Content_Length=40 * 1024**2)
        assert client.answer().status == 429, "none of a large body is read"
    Import.objects.filter(owner_id=alice.id).delete()


def test_an_account_imports_as_much_text_as_it_may(alice: Person, eventually: Eventually) -> None:
    quota = settings.IMPORT_QUOTA_MB * 1024 * 1024
    earlier = {"owner_id": alice.id, "bytes": 1, "status": "finished"}
    month_ago = Import.objects.create(text_bytes=quota, **earlier)
    Import.objects.filter(pk=month_ago.pk).update(created_at=timezone.now() - services.KEPT_FOR)
    Import.objects.create(text_bytes=quota, by_command=True, **earlier)
    counted = Import.objects.create(text_bytes=quota - 50_000, **earlier)
    exported = [chatgpt(f"c-{number}", "é" * 30_000) for number in range(2)]
    first = imported(alice, eventually, exported)
    assert first["counts"] == {"conversations": 1, "messages": 2, "skipped": 1}
    assert first["report"][-1].endswith("the account has imported as much text as it may within 30 days.")
    assert Import.objects.get(id=first["id"]).text_bytes == 60_000

    Import.objects.filter(pk=counted.pk).update(created_at=timezone.now() - services.KEPT_FOR + timedelta(hours=1))
    refused = send_import(alice, exported)
    assert_error(refused, 429, "import_quota_exceeded", services.ImportQuotaExceeded.detail)
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600

    # The last import went beyond the quota by more than the oldest one had, so the oldest one's end is not enough.
    hours = timedelta(hours=1)
    oldest = Import.objects.create(text_bytes=1, **earlier)
    Import.objects.filter(pk=oldest.pk).update(created_at=timezone.now() - services.KEPT_FOR + hours)
    Import.objects.filter(pk=counted.pk).update(created_at=timezone.now() - services.KEPT_FOR + 2 * hours)
    Import.objects.filter(pk=first["id"]).update(text_bytes=services.MIN_COUNTED_BYTES + 1)
    Import.objects.filter(pk=counted.pk).update(text_bytes=quota - 1)
    refused = send_import(alice, exported)
    assert 7100 < int(refused.headers["Retry-After"]) <= 7200
    oldest.delete()
    Import.objects.filter(pk=first["id"]).update(text_bytes=60_000)
    Import.objects.filter(pk=counted.pk).update(text_bytes=1)
    assert imported(alice, eventually, exported)["counts"]["conversations"] == 1


def test_what_cannot_be_imported_is_reported(alice: Person, eventually: Eventually) -> None:
    loop = {"title": "Round", "current_node": "a", "mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}}
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    odd: list[Any] = [
        None,
        3,
        "text",
        [],
        {},
        {"mapping": None},
        {"mapping": {"a": 1}, "current_node": 5},
        {"chat_messages": [1]},
    ]
    long = chatgpt("c-long", "q" * 40_000, "a" * 1_100_000, title="t" * 300)
    bad = chatgpt("c-bad", "a\0b", "\ud800 \U0001f600 \udfff", title="\0")
    bad["create_time"] = bad["update_time"] = 1e300
    told = imported(alice, eventually, [loop, {"mapping": {}, "x": deep}, *odd, long, bad])
    assert told["counts"] == {"conversations": 2, "messages": 4, "skipped": 2 + len(odd)}
    assert told["status"] == "finished"
    assert "2 messages were cut, because they are longer than a message may be here." in told["report"]
    assert "“Round” was left out: its messages refer to each other in a circle." in told["report"]
    assert any("nested" in line for line in told["report"])
    assert len(told["report"]) == 1 + 2 + len(odd)
    by_title = {conversation["title"]: conversation["id"] for conversation in listed(alice)}
    assert {len(title or "") for title in by_title} == {200, 1}
    path = f"chat/conversations/{by_title['t' * 200]}/messages"
    pages = [alice.get(path, params={"after": seq, "limit": 1}).json()["messages"] for seq in (0, 1)]
    assert [len(message["content"]) for [message] in pages] == [32_000, 1_000_000]
    assert texts(alice, by_title["\ufffd"])[0][2] == "a\ufffdb"


@pytest.mark.parametrize("number", ["9" * 25, "1e400", "-" + "9" * 5_000, "1e-99999999999999999999"])
def test_a_number_of_any_size_does_not_end_the_file(alice: Person, eventually: Eventually, number: str) -> None:
    exported = json.dumps([chatgpt(f"c-{count}", "Hello", "Hi", title=f"N{count}") | {"x": "E"} for count in range(3)])
    for field in ('"E"', '"N1"'):
        told = imported(alice, eventually, exported.replace(field, number).encode())
        assert told["status"] == "finished"
        assert told["counts"]["conversations"] + told["counts"]["skipped"] == 3
    assert len(listed(alice)) == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps([chatgpt("c-1", "Hello", "Hi")]).encode()[:-40], "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a":[' + b"0," * 1_000_001 + b"0]}", "or a million values"),
        (b"PK\x03\x04 nothing", ".zip file is damaged"),
        (b"[\xff]", "not valid JSON"),
        (b'[{"x": ' + b"9" * 1_000_000 + b"}]", "too large to be read"),
    ],
    ids=["cut", "deep", "huge", "zip", "encoding", "digits"],
)
def test_a_file_that_cannot_be_read_says_why(alice: Person, eventually: Eventually, content: bytes, told: str) -> None:
    ended = imported(alice, eventually, content)
    assert ended["counts"]["conversations"] == 0
    assert [line for line in ended["report"] if told in line], ended
    assert ended["status"] == ("finished" if "million" in told else "failed")


@pytest.mark.parametrize("before", range(14))
def test_lone_surrogates_are_replaced_wherever_the_file_is_cut_into_parts(before: int) -> None:
    said = r'"\udc00\\udc00\n\ud83d\ude00\ud83dx\uD83D\ud83d\ude00\\\udfff\\"'
    text = '"' + "x" * (PART_BYTES - before - 1) + said[1:]
    for written in (said, text):
        [read] = read_items(io.BytesIO(written.encode()))
        assert isinstance(read, str)
        assert read.lstrip("x") == "\ufffd\\udc00\n\U0001f600\ufffdx\ufffd\U0001f600\\\ufffd\\"


def test_a_long_text_is_read_in_few_parts() -> None:
    """The parser reads an unfinished text again with each part, so many parts would take hours."""
    reads: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size or 0)
            return super().read(size)

    text = "\u00e9\n" * 4_000_000
    read = list(read_items(Counted(json.dumps([{"a": text}, {"b": 1}]).encode())))
    assert read == [{"a": text}, {"b": 1}]
    assert len(reads) < 20


def test_the_zip_of_an_export_is_read(alice: Person, eventually: Eventually) -> None:
    first, second = (json.dumps([chatgpt(name, "Hello", "Hi")]) for name in ("c-1", "c-2"))
    files = {"user.json": "{}", "conversations-000.json": "\ufeff" + first, "conversations-001.json": second}
    assert imported(alice, eventually, zipped(files))["counts"]["conversations"] == 2


def test_a_zip_bomb_is_not_unpacked(alice: Person, eventually: Eventually) -> None:
    # The size that the archive tells of its file.
    told_size, true_size = ((size).to_bytes(4, "little") for size in (2**32 - 2, 1_000_000))
    data = zipped({"conversations.json": " " * 1_000_000}).replace(true_size, told_size)
    told = imported(alice, eventually, data)
    assert (told["status"], told["report"]) == (
        "failed",
        ["The .zip file is too large once it is unpacked: at most 2 GB and 1000 conversation files."],
    )


def test_bad_requests_are_refused(alice: Person, bob: Person, anonymous: Any) -> None:
    assert anonymous.post("chat/imports", files={"file": ("x", b"[]")}).status_code == 401
    nothing = alice.post("chat/imports", data={"source": "chatgpt"}, files={"other": ("x", b"[]")})
    assert nothing.json()["errors"][0]["field"] == "body.file"
    assert send_import(alice, [], source="myspace").json()["errors"][0]["field"] == "body.source"
    assert_error(
        send_import(alice, b"\x89PNG"), 415, "unsupported_type", f"Unsupported media type; {services.ACCEPTED}"
    )
    own = send_import(alice, []).json()["id"]
    for absent in (own, str(uuid.uuid4()), "x", "%00"):
        answer = bob.get(f"chat/imports/{absent}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_import_of_a_dead_process_goes_on_in_another(alice: Person, eventually: Eventually) -> None:
    exported = [chatgpt(f"c-{number}", "Hello", "Hi") for number in range(3)]
    imported(alice, eventually, exported[:1])
    data = json.dumps(exported).encode()
    row = Import(owner_id=alice.id, bytes=len(data), status=Import.Status.RUNNING, worker="long dead", attempts=1)
    save_file(row.id, io.BytesIO(data))
    row.save(force_insert=True)
    assert finished(alice, eventually, str(row.id))["counts"] == {"conversations": 2, "messages": 4, "skipped": 1}
    eventually(lambda: row.id not in stored_files(saved_before=timezone.now()))


def test_an_import_that_fails_here_keeps_its_counts(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(import_id: uuid.UUID) -> None:
        raise ValueError("a fault here")

    monkeypatch.setattr(run, "open_file", fail)
    counts = {"conversations": 3, "messages": 8, "text_bytes": 20_000_000, "skipped": 2}
    with transaction.atomic():  # no web process sees the row, whose worker it would not know
        row = Import.objects.create(owner_id=alice.id, bytes=1, status="running", worker="here", attempts=1)
        Import.objects.filter(pk=row.pk).update(**counts)
        run._run(row)
        row.refresh_from_db()
        assert row.status == "failed"
        assert {name: getattr(row, name) for name in counts} == counts, "the quota counts the bytes"
        transaction.set_rollback(True)


def test_deleting_the_account_ends_its_imports(alice: Person) -> None:
    row = Import(owner_id=alice.id, bytes=2, not_before=timezone.now() + timedelta(days=1))
    save_file(row.id, io.BytesIO(b"[]"))
    row.save(force_insert=True)
    assert alice.delete("users/me").status_code == 204
    assert row.id not in stored_files(saved_before=timezone.now())
    assert not Import.objects.filter(id=row.id).exists()


def test_a_file_that_is_too_large_is_refused(web_with: Callable[..., str]) -> None:
    with closing(Person(web_with(**SMALL), "mover")) as person:
        too_large = send_import(person, b"[" + b" " * 2 * 1024 * 1024)
        assert_error(too_large, 413, "too_large", "A file to import may have 0 MB at most")


@pytest.mark.faults
def test_an_import_whose_process_is_killed_loses_and_doubles_nothing(
    alice: Person, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    count = full_size(2000, 100)
    exported = [chatgpt(f"c-{number}", "word " * 500, "answer " * 500) for number in range(count)]
    data = json.dumps(exported).encode()
    row = Import(owner_id=alice.id, bytes=len(data), not_before=timezone.now() + timedelta(days=1))
    save_file(row.id, io.BytesIO(data))
    row.save(force_insert=True)
    running = Import.objects.filter(pk=row.pk)
    with subprocess.Popen([sys.executable, "-m", "conversations.tests.importing_process", str(row.pk)]) as process:
        stored = eventually(lambda: conversations().count_documents({"import_id": str(row.pk)}))
        process.kill()
    ended = eventually(lambda: running.filter(status="finished").first())
    assert (ended.conversations, ended.messages, ended.skipped) == (count, 2 * count, 0)
    documents = messages().find({"owner_id": alice.id}, {"conversation_id": 1})
    assert set(Counter(each["conversation_id"] for each in documents).values()) == {2}
    with capsys.disabled():
        print(f"killed after {stored} of {count} conversations, attempts: {ended.attempts}; all are there once")  # noqa: T201


@pytest.mark.faults
def test_an_import_ends_with_a_mongodb_that_is_slow_with_each_document(alice: Person) -> None:
    """Storing and ordering everything takes longer than one operation may take."""
    newest_first = [chatgpt(f"c-{at}", "Hello", "Hi", title=f"{at}", at=START + 60 * at) for at in range(100, 0, -1)]
    long = chatgpt("long", *["Hello", "Hi"] * 30, title="long", at=START + 10**6)
    row = Import(owner_id=alice.id, bytes=0, not_before=timezone.now() + timedelta(days=1))

    def run(exported: list[dict[str, Any]], mongodb: str) -> None:
        data = json.dumps(exported).encode()
        Import.objects.filter(pk=row.pk).update(bytes=len(data))
        delete_file(row.id)
        save_file(row.id, io.BytesIO(data))
        command = [sys.executable, "-m", "conversations.tests.importing_process", str(row.pk)]
        env = {**os.environ, "MONGODB_URL": mongodb, "STORE_TIMEOUT_SECONDS": "4.5"}
        assert any(subprocess.run(command, env=env, timeout=600, check=False).returncode == 0 for _ in range(5))

    row.save(force_insert=True)
    run(newest_first, os.environ["MONGODB_URL"])
    # As a run leaves them that was interrupted before it ordered them.
    stored = list(conversations().find({"import_id": str(row.pk)}, {"change": 1, "updated_at": 1}))
    stored.sort(key=lambda each: each["updated_at"])
    numbers = sorted((each["change"] for each in stored), reverse=True)
    for each, change in zip(stored, numbers, strict=True):
        conversations().update_one({"_id": each["_id"], "owner_id": alice.id}, {"$set": {"change": change}})
    with closing(StoreProxy(os.environ["MONGODB_URL"])) as proxy:
        proxy.bytes_per_second = 12_000
        run([*newest_first, long], proxy.url)
    row.refresh_from_db()
    assert (row.status, row.conversations, row.messages) == ("finished", 101, 260)
    assert [each["title"] for each in listed(alice)] == ["long", *(str(at) for at in range(100, 1, -1))]
    since = alice.get("chat/changes").json()["next_since"]
    while (page := alice.get("chat/changes", params={"since": since}).json())["has_more"]:
        since = page["next_since"]
    since = page["next_since"]
    run([*newest_first, long], os.environ["MONGODB_URL"])
    assert alice.get("chat/changes", params={"since": since}).json()["conversations"] == [], "they are in order"
