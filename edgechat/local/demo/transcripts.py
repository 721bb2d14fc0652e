"""The conversations of the demo's people, with pictures and todos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import Q

from conversations import transcript_repository as transcripts
from conversations.attachments.queries import attachment_body
from conversations.attachments.services import record_uses, store_attachment
from conversations.documents import (
    CONVERSATION_VERSION,
    MESSAGE_VERSION,
    AttachmentOutput,
    ConversationDocument,
    MessageDocument,
    message_id,
)
from conversations.models import Todo
from conversations.todos.services import FoundTask
from edgechat.local.demo.chance import dice
from edgechat.local.demo.people import Member
from edgechat.local.demo.picture import draw_receipt
from edgechat.local.demo.talks import Talk, Turn
from edgechat.local.demo.talks_of_ada import ADAS
from edgechat.local.demo.talks_of_others import COMMON, TROUBLES
from edgechat.local.demo.usage import add_calls, call_of, request_id_of
from usage.ledger.tokens import TokenUsage, estimate_tokens
from usage.models import LedgerEntry

BETWEEN_TURNS = timedelta(minutes=4)


def talks_of(member: Member) -> list[Talk]:
    """The conversations of a person, the oldest first."""
    if member.person.name == "Ada Lindqvist":
        chosen = list(ADAS)
    else:
        rng = dice("talks", member.person.handle)
        chosen = rng.sample(COMMON, rng.randint(2, 7)) + rng.sample(TROUBLES, rng.randint(0, 3))
    return sorted(chosen, key=lambda talk: -talk.age)


def seed_talk(member: Member, talk: Talk, now: datetime) -> bool:
    """Store a conversation with its todos; False if it is there, or was deleted by its owner."""
    owner_id, offset = member.user.pk, timedelta(0)
    if member.person.name != "Ada Lindqvist":
        offset = timedelta(hours=dice("age", member.person.handle, talk.title).uniform(0, 48))
    ended = max(now - timedelta(hours=talk.age) - offset, member.user.created_at + timedelta(hours=1))
    conversation_id = _id_of(member, talk)
    attachments: list[AttachmentOutput] = []
    if any(turn.picture for turn in talk.turns):
        attachments = [attachment_body(store_attachment(owner_id=owner_id, file=draw_receipt()))]
    messages = list(_messages(owner_id, conversation_id, talk, ended, attachments))
    conversation = _conversation(member, talk, conversation_id, messages)
    if not transcripts.insert_transcript(owner_id, conversation, messages):
        return False
    record_uses(attachments, conversation_id=conversation_id)
    _seed_todos(owner_id, talk, messages[-1])
    _seed_calls(member, conversation, messages)
    return True


def _id_of(member: Member, talk: Talk) -> str:
    """The same in each run. Ids begin with the time of the creation, and sort by it."""
    digest = hashlib.sha256(f"demo:{member.user.pk}:{talk.title}".encode()).hexdigest()
    order = int(member.user.created_at.timestamp()) + max(0, 3000 - round(talk.age))
    return f"{order:08x}{digest[:16]}"


def _messages(
    owner_id: int, conversation_id: str, talk: Talk, ended: datetime, attachments: list[AttachmentOutput]
) -> Iterator[MessageDocument]:
    context = talk.system_instruction or ""
    for number, turn in enumerate(talk.turns):
        at = ended - BETWEEN_TURNS * (len(talk.turns) - number - 1)
        context += turn.question
        usage = TokenUsage(input_tokens=estimate_tokens(context), output_tokens=estimate_tokens(turn.answer))
        context += turn.answer
        common = {
            "version": MESSAGE_VERSION,
            "conversation_id": conversation_id,
            "owner_id": owner_id,
            "client_message_id": None,
            "body_hash": None,
            "outbox": None,
            "expires_at": None,
            "created_at": _to_milliseconds(at),
        }
        question: dict[str, Any] = {
            "seq": 2 * number + 1,
            "failure": None,
            "role": "user",
            "content": turn.question,
            "status": "complete",
            "attempt": 0,
            "attachments": attachments if turn.picture else [],
            "finish_reason": None,
            "usage": None,
            "feedback": None,
            "variants": [],
        }
        answer: dict[str, Any] = {
            "seq": 2 * number + 2,
            "failure": {"code": turn.failure, "retry_after": None} if turn.failure else None,
            "role": "model",
            "content": turn.answer,
            "status": turn.status,
            "attempt": 1 + len(turn.earlier),
            "attachments": [],
            "finish_reason": {"complete": "STOP", "blocked": "SAFETY"}.get(turn.status),
            "usage": usage.as_body(),
            "feedback": _feedback(turn),
            "variants": [
                {"content": text, "finish_reason": "STOP", "created_at": _to_milliseconds(at)} for text in turn.earlier
            ],
        }
        for message in (question, answer):
            key = message_id(conversation_id, message["seq"])
            yield cast(MessageDocument, {"_id": key, **common, **message})


def _seed_calls(member: Member, conversation: ConversationDocument, messages: list[MessageDocument]) -> None:
    """The calls to the model of a conversation's replies, as `conversations.replies.start` names them."""
    calls = []
    for reply in messages:
        for attempt in range(1, reply["attempt"] + 1):
            key = f"{reply['_id']}:{attempt}"
            ended = reply["created_at"] + timedelta(seconds=30)
            call = call_of(
                member, f"{key}:demo", ended, LedgerEntry.Purpose.CHAT, attempt, request_id=request_id_of(key)
            )
            call.organization_id = conversation["organization_id"]
            if reply["status"] in ("failed", "blocked"):
                call.output_tokens = call.thinking_tokens = 0
            calls.append(call)
    add_calls(calls)


def _feedback(turn: Turn) -> dict[str, str | None] | None:
    return {"rating": turn.rating, "comment": turn.comment} if turn.rating else None


def _conversation(
    member: Member, talk: Talk, conversation_id: str, messages: list[MessageDocument]
) -> ConversationDocument:
    is_shared = talk.shared and member.organization is not None
    return {
        "_id": conversation_id,
        "version": CONVERSATION_VERSION,
        "owner_id": member.user.pk,
        "organization_id": member.organization.pk if is_shared and member.organization else None,
        "title": talk.title,
        "title_set_by_user": False,
        "system_instruction": talk.system_instruction,
        "pinned": talk.pinned,
        "archived": talk.archived,
        "temporary": False,
        "expires_at": None,
        "creation_key": None,
        "creation_hash": None,
        "next_seq": len(messages) + 1,
        "message_count": len(messages),
        "revision": len(messages),
        "summary": None,
        "reply": None,
        "change": 0,
        "created_at": messages[0]["created_at"],
        "updated_at": messages[-1]["created_at"],
    }


def _seed_todos(owner_id: int, talk: Talk, answer: MessageDocument) -> None:
    tasks = [(task, FoundTask(task.title, task.description, answer["_id"])) for task in talk.tasks]
    known = Q(owner_id=owner_id, conversation_id=answer["conversation_id"])
    Todo.objects.bulk_create(
        [
            Todo(
                owner_id=owner_id,
                title=found.title,
                description=found.description,
                completed=task.completed,
                archived=task.archived,
                conversation_id=answer["conversation_id"],
                message_id=answer["_id"],
                found_hash=found.found_hash,
            )
            for task, found in tasks
        ],
        ignore_conflicts=True,
    )
    Todo.objects.filter(known).update(created_at=answer["created_at"])


def _to_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
