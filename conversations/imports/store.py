"""Stores the conversations of a file, which a process of the sandbox reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

from ai.calls.metered import MAX_ANSWER_BYTES
from ai.serializers import MAX_SYSTEM_INSTRUCTION_CHARACTERS
from conversations import transcript_repository as transcripts
from conversations.documents import is_conversation_id
from conversations.imports.reading.frames import Header, LeftOut, Message
from conversations.imports.report import BROKEN, Tally
from conversations.serializers import MAX_CONTENT_CHARACTERS, MAX_TITLE_CHARACTERS
from conversations.services import NEAR_LIMIT, TooManyConversations, conversations_left, room_for_another
from edgechat.processes.threads import give_way, working
from edgechat.sandbox.job_limit import JobLimit, OutOfTime
from edgechat.sandbox.jobs import Job, JobFailed

# Reading and storing one file.
SECONDS = 4 * 3600.0
_LIMITS = {
    "title": MAX_TITLE_CHARACTERS,
    "instruction": MAX_SYSTEM_INSTRUCTION_CHARACTERS,
    "question": MAX_CONTENT_CHARACTERS,
    "answer": MAX_ANSWER_BYTES,
}
# A conversation of 32 million characters, with its copies, takes over 200 MB.
_reader = Job(
    "conversations.imports.reading.reader",
    limit=JobLimit(1, per_user=1),
    memory=768 * 1024**2,
    max_bytes=16 * 1024**2,
)
BROKEN_READER = (JobFailed, OutOfTime, msgspec.MsgspecError)
# New conversations between two looks at how many there are, and between two numberings of changes.
_LOOK_EVERY = NEAR_LIMIT // 2


@dataclass(frozen=True)
class Task:
    """An import of one user's file. `source` None: recognized. `older_user`: only the conversations of this id.

    `quota`: bytes of text after which no more conversations are stored; None: no limit. `keeps_ids`: conversations of
    the older EdgeChat keep their ids, if no other has them here.
    """

    owner_id: int
    import_id: str
    source: str | None
    size: int
    quota: int | None = None
    older_user: str | None = None
    keeps_ids: bool = False


def store_conversations(task: Task, file: IO[bytes], tally: Tally, look: Callable[[], object]) -> int:
    """Import the file's conversations, and count them in `tally`; the reader's largest memory in KiB.

    What an earlier run of the same import has stored is counted again. `look` is called after each conversation, and
    may raise. Raises StoreUnavailable and OperationalError; faults of the file are in `tally.broken`.
    """
    peak = 0
    writer = _Writer(task, tally)
    arguments = {"source": task.source, **_LIMITS}
    frames = _reader.stream(arguments, file, size=task.size, seconds=SECONDS)
    try:
        for told, data in frames:
            match told.get("kind"):
                case "header":
                    header = msgspec.json.decode(data, type=Header)
                    with working():
                        writer.store(header, _messages(frames, header))
                case "left_out":
                    left_out = msgspec.json.decode(data, type=LeftOut)
                    tally.leave_out(left_out.title, left_out.reason)
                case "broken" if told.get("reason") in BROKEN:
                    tally.broken = str(told["reason"])
                case "end" if isinstance(told.get("peak_kib"), int):
                    peak = told["peak_kib"]
                case _:
                    raise JobFailed("not a frame")
            look()
    except BROKEN_READER:
        tally.broken = "process"
    finally:
        frames.close()
    with working():
        writer.order()
    return peak


def _messages(frames: Iterator[tuple[dict[str, Any], bytes]], header: Header) -> Iterator[list[Message]]:
    """The lists of messages that follow a header. Raises JobFailed for others."""
    count = 0
    for _ in range(header.pieces):
        told, data = next(frames, ({}, b""))
        if told.get("kind") != "messages":
            raise JobFailed("no messages")
        messages = msgspec.json.decode(data, type=list[Message])
        count += len(messages)
        yield messages
    if count != header.messages or count % 2:
        raise JobFailed("not as many messages as told")


class _Writer:
    def __init__(self, task: Task, tally: Tally) -> None:
        self._task, self._tally = task, tally
        self._left = 0
        self._new = 0
        self._read = 0
        self._stored: dict[str, datetime] = {}

    def store(self, header: Header, pieces: Iterator[list[Message]]) -> None:
        tally = self._tally
        key = f"{header.source}:{header.source_id}"
        pieces = self._weighed(pieces)
        stored, new_id = self._find(header, key)
        if stored is None and not self._belongs(header):
            tally.leave_out(header.title, "another_user")
            imported = False
        elif imported := self._is_of_this_import(stored) or (
            stored is None and self._insert(header, key, new_id, pieces)
        ):
            tally.conversations += 1
            tally.messages += header.messages
            tally.note(header.notes)
        elif stored is not None:
            tally.present += 1
            tally.skipped += 1
        for _ in pieces:
            pass
        if imported:
            tally.text_bytes += self._read

    def _weighed(self, pieces: Iterator[list[Message]]) -> Iterator[list[Message]]:
        """The same, with the bytes of their texts added up in `_read`."""
        self._read = 0
        for messages in pieces:
            self._read += sum(len(message.content.encode()) for message in messages)
            yield messages

    def order(self) -> None:
        """Put the stored conversations into the order of their times."""
        transcripts.order_imported(self._task.owner_id, sorted(self._stored, key=lambda key: (self._stored[key], key)))

    def _is_of_this_import(self, found: transcripts.ImportedConversation | None) -> bool:
        if found is None or found["import_id"] != self._task.import_id:
            return False
        self._stored[found["_id"]] = found["updated_at"]
        return True

    def _belongs(self, header: Header) -> bool:
        return self._task.older_user is None or header.owner in (None, self._task.older_user)

    def _insert(self, header: Header, key: str, conversation_id: str, pieces: Iterator[list[Message]]) -> bool:
        """Whether the conversation is stored now. What is not is counted here."""
        task = self._task
        if not self._has_room():
            self._tally.leave_out(header.title, "account_full")
            return False
        if task.quota is not None and self._tally.text_bytes >= task.quota:
            self._tally.leave_out(header.title, "quota")
            return False
        now = transcripts.now()
        created_at, updated_at = _time(header.created_at) or now, _time(header.updated_at) or now
        try:
            self._store_messages(conversation_id, pieces, created_at)
        except BROKEN_READER:
            self._discard(conversation_id, header)
            raise
        stored = False
        give_way()
        try:
            with room_for_another(task.owner_id, left=self._left):
                stored = transcripts.insert_imported(
                    task.owner_id,
                    conversation_id,
                    source_key=key,
                    import_id=task.import_id,
                    title=header.title,
                    system_instruction=header.system_instruction,
                    pinned=header.pinned,
                    archived=header.archived,
                    messages=header.messages,
                    created_at=created_at,
                    updated_at=updated_at,
                )
        except TooManyConversations:
            self._tally.leave_out(header.title, "account_full")
            self._discard(conversation_id, header)
            return False
        if not stored:
            self._discard(conversation_id, header)
            if self._is_of_this_import(transcripts.find_imported(task.owner_id, key)):
                return True  # another run of this import, which has lost it, was faster
            self._tally.present += 1
            self._tally.skipped += 1
            return False
        self._stored[conversation_id] = updated_at
        self._left -= 1
        self._new += 1
        if self._new % _LOOK_EVERY == 0:
            give_way()
            transcripts.number_changes(task.owner_id)
        return True

    def _store_messages(self, conversation_id: str, pieces: Iterator[list[Message]], at: datetime) -> None:
        """Store the messages. One without a time gets that of the message before, the first `at`."""
        seq = 0
        for messages in pieces:
            documents = []
            for message in messages:
                seq += 1
                # The sandbox removes them. A process that a file controls might not.
                if "\0" in message.content:
                    raise JobFailed("a NUL")
                at = _time(message.created_at) or at
                documents.append(
                    transcripts.imported_message(
                        self._task.owner_id,
                        conversation_id,
                        seq,
                        content=message.content,
                        status=message.status if seq % 2 == 0 else "complete",
                        finish_reason=message.finish_reason if seq % 2 == 0 else None,
                        created_at=at,
                    )
                )
            transcripts.store_imported_messages(documents)

    def _discard(self, conversation_id: str, header: Header) -> None:
        """Delete the messages of a conversation that is not stored."""
        if transcripts.find_conversation(self._task.owner_id, conversation_id) is None:
            transcripts.discard_imported_messages(self._task.owner_id, conversation_id, header.messages)

    def _has_room(self) -> bool:
        if self._new % _LOOK_EVERY == 0 or self._left <= 0:
            self._left = conversations_left(self._task.owner_id)
        return self._left > 0

    def _find(self, header: Header, key: str) -> tuple[transcripts.ImportedConversation | None, str]:
        """The conversation if it is stored, and otherwise its new id.

        The id is the same each time, so that the next import finishes a conversation that an interrupted one began, and
        finds it by its id: SecantusDB reads all of the owner's conversations for the source's key. A conversation that
        was deleted here gets another one, because other devices know the first as deleted.
        """
        owner_id = self._task.owner_id
        ids = [hashlib.sha256(f"{owner_id}:{key}".encode()).hexdigest()[:24]]
        if self._task.keeps_ids and header.source == "edgechat" and is_conversation_id(header.source_id):
            ids.insert(0, header.source_id)
        stored = transcripts.find_imported(owner_id, key, ids=ids)
        if stored is not None:
            return stored, ""
        again = hashlib.sha256(f"{self._task.import_id}:{key}".encode()).hexdigest()[:24]
        new_id = next(filter(transcripts.is_unused_id, ids), again)
        give_way()
        # With its usual id free, a conversation that has another one is found when the new one is inserted.
        return None if new_id == ids[0] else transcripts.find_imported(owner_id, key), new_id


def _time(moment: float | None) -> datetime | None:
    """A time in whole milliseconds, as MongoDB stores it."""
    return None if moment is None else datetime.fromtimestamp(int(moment * 1000) / 1000, tz=UTC)
