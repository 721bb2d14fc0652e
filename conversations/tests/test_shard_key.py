"""MongoDB with shards: `docs/scaling.md` chooses the keys, and each command and unique index fits them."""

from __future__ import annotations

import inspect
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest

from accounts.tests.organizations import new_organization
from conftest import Person
from conversations import transcript_repository
from conversations.tests.events import EVENT_STREAM, read_events
from conversations.transcript_repository import collections
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy

SHARD_KEYS = {"conversations": "owner_id", "messages": "owner_id", "tombstones": "owner_id", "owners": "_id"}
# Fields of filters without an owner, which go to all shards.
WITHOUT_OWNER = {
    frozenset({"reply.worker"}): "replies of dead processes: their owners are not known",
    frozenset({"reply.worker", "reply.stop_requested"}): "stop requests for all replies of a process",
    frozenset({"purged", "deleted_at"}): "deletions that a dead process left",
    frozenset({"purged"}): "deletions that a dead process left",
    frozenset({"expires_at"}): "expired temporary conversations of everybody",
}
# Functions of the repository whose first argument is no owner.
OF_NO_OWNER = {
    "ensure_indexes": "no query",
    "now": "no query",
    "purge_deleted": "a background task for all owners",
    "expire_temporary": "a background task for all owners",
    "find_stop_requests": "a background task for all owners",
    "find_unknown_workers": "a background task for all owners",
    "find_workers_with_replies": "a background task for all owners",
    "find_replies_of": "a background task for all owners",
    "is_unused_id": "a command asks whether any owner has the id",
    "imported_message": "no query",
    "store_imported_messages": "each message names its owner",
    "find_sharings": "a member of an organization does not know the owner",
    "list_shared": "the owners are a list",
    "existing_conversations": "staff's, by ids",
    "find_metadata": "staff's, by id",
    "list_running": "staff's, of all owners",
    "count_conversations_of": "staff's, of several owners",
    "judged_replies": "staff's, of all owners",
    "count_judged_replies": "staff's, of all owners",
    "texts_of_replies": "staff's, by ids",
    "count_unpurged": "a metric, of all owners",
    "copy_everything": "a backup of all owners",
    "filled_collections": "a restore asks for documents of any owner",
}


def commands(sent: list[bytes]) -> Iterator[dict[str, Any]]:
    """The commands of what a driver has sent, each with its sequences of documents."""
    for piece in sent:
        if len(piece) < 21:
            continue
        length, _, _, kind = struct.unpack_from("<iiii", piece)
        if kind != 2013 or length != len(piece):
            continue
        command: dict[str, Any] = {}
        at = 20
        while at < length:
            (size,) = struct.unpack_from("<i", piece, at + 1)
            section = piece[at + 1 : at + 1 + size]
            if piece[at] == 0:
                command |= bson.decode(section)
            else:
                name, _, documents = section[4:].partition(b"\0")
                command[name.decode()] = bson.decode_all(documents)
            at += 1 + size
        yield command


def filters(command: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """(collection, command, filter, whether it upserts) of each query; an insert's filter is its document."""
    name = next(iter(command))
    collection = command[name]
    if collection not in SHARD_KEYS:
        return
    match name:
        case "find" | "findAndModify" | "distinct" | "count":
            yield collection, name, command.get("filter", command.get("query", {})), False
        case "aggregate":
            yield collection, name, command["pipeline"][0].get("$match", {}), False
            for stage in command["pipeline"]:
                if "$lookup" in stage:
                    joined = stage["$lookup"]
                    yield joined["from"], "$lookup", joined["pipeline"][0]["$match"], False
        case "insert":
            for document in command["documents"]:
                yield collection, name, document, True
        case "update":
            for update in command["updates"]:
                yield collection, name, update["q"], update.get("upsert", False)
        case "delete":
            for delete in command["deletes"]:
                yield collection, name, delete["q"], False


def test_each_command_that_web_processes_send_names_its_shard(
    start_web: Callable[..., WebServer], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    proxy = StoreProxy(os.environ["MONGODB_URL"])
    try:
        web = start_web(MONGODB_URL=proxy.url)
        alice, bob = register("alice", web.url), register("bob", web.url)
        conversation = alice.new_conversation(title="Bread")
        path = f"chat/conversations/{conversation}/messages"
        sent = alice.say(conversation, "Hello", client_message_id="one").json()
        assert alice.say(conversation, "Hello", client_message_id="one").json() == sent
        mid = sent["model_message"]["id"]
        assert alice.post(f"{path}/{mid}/regenerate").status_code == 200
        assert alice.put(f"{path}/{mid}/feedback", json={"rating": "up"}).status_code in (200, 404, 405)
        assert alice.messages(conversation)["messages"]
        for url in (
            "chat/conversations",
            "chat/conversations?pinned_first=true",
            "chat/search?q=Hello",
            "chat/changes",
        ):
            assert alice.get(url).status_code == 200, url
        assert alice.patch(f"chat/conversations/{conversation}", json={"pinned": True}).status_code == 200
        temporary = alice.new_conversation(temporary=True)
        body = {"content": "[[chunks=40]][[gap=0.2]]" + "word " * 40}
        with alice.stream(
            "POST", f"chat/conversations/{temporary}/messages", json=body, headers=EVENT_STREAM
        ) as answer:
            events = read_events(answer.iter_lines())
            told = next(each for each in events if each.get("event") == "message")["data"]
            stop = f"chat/conversations/{temporary}/messages/{told['model_message']['id']}/stop"
            assert alice.post(stop).status_code in (200, 202, 204)
            list(events)
        organization = new_organization(owner=alice, member=bob)
        shared = alice.new_conversation(organization_id=organization.pk)
        assert bob.get("chat/conversations", params={"organization_id": organization.pk}).status_code == 200
        assert alice.get("users/me/export").status_code == 200
        assert alice.delete(f"chat/conversations/{shared}").status_code == 204
        assert alice.delete("users/me").status_code == 204
        # Rounds of the background tasks, the deletion of the account among them.
        seen: set[tuple[str, str]] = set()

        def everything_was_seen() -> bool:
            seen.clear()
            for command in commands(list(proxy.sent)):
                seen.update((where, name) for where, name, _, _ in filters(command))
            wanted = {("owners", "delete"), ("messages", "delete"), ("messages", "update"), ("tombstones", "update")}
            return {*wanted, ("conversations", "delete"), ("messages", "$lookup"), ("conversations", "insert")} <= seen

        eventually(everything_was_seen)
    finally:
        proxy.close()
    for command in commands(proxy.sent):
        for where, name, chosen, upserts in filters(command):
            named = SHARD_KEYS[where] in chosen
            listed = frozenset(chosen) in WITHOUT_OWNER and name in ("find", "aggregate")
            by_organization = "organization_id" in chosen and where == "conversations" and name == "find"
            of_a_member = frozenset(chosen) == {"_id"} and where == "conversations" and name == "find"
            assert named or (not upserts and (listed or by_organization or of_a_member)), command


def test_each_function_takes_the_owner_or_says_why_not() -> None:
    functions = {name: each for name, each in vars(transcript_repository).items() if inspect.isfunction(each)}
    without = {
        name for name, each in functions.items() if next(iter(inspect.signature(each).parameters), "") != "owner_id"
    }
    # These take a document that has its owner.
    without -= {"claim_reply", "undo_claim", "insert_transcript"}
    assert without <= OF_NO_OWNER.keys()


@pytest.mark.usefixtures("shared_servers")
def test_each_unique_index_begins_with_the_shard_key() -> None:
    collections.ensure_indexes()
    for collection in (collections.conversations(), collections.messages(), collections.tombstones()):
        for name, index in collection.index_information().items():
            if index.get("unique") and name != "_id_":
                assert index["key"][0][0] == SHARD_KEYS[collection.name], name
