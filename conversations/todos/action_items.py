"""Finding the tasks in a conversation, with a model that answers in a JSON schema."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import structlog

from accounts.open_calls.registry import OpenCall
from ai.calls.json_answer import read_values
from ai.calls.metered import MeteredCall
from ai.errors import ContentBlocked
from ai.gemini import Content, ModelOutputInvalid, Prompt
from conversations.documents import ConversationDocument, message_id
from conversations.models import Todo
from conversations.prompt.context_window import newest_first, numbered_dialogue, window_tokens
from conversations.queries import charged_organization, get_conversation, reading_of
from conversations.todos.services import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_TITLE_CHARACTERS,
    FoundTask,
    file_tasks,
    refuse_without_room,
)
from edgechat.graphemes import cut
from usage.models import LedgerEntry

logger = structlog.get_logger(__name__)

# Stated in the instruction: as `maxItems` of a list of objects, Gemini refuses such a number as too complex a schema.
MAX_TASKS = 30
# Short, because it and the schema must leave room in the smallest CONTEXT_MAX_TOKENS.
INSTRUCTION = (
    f"List the tasks that remain to be done after this conversation, {MAX_TASKS} at most, in its language; "
    "none: []. seq is the number before the message that names the task."
)


def find_action_items(*, owner_id: int, conversation_id: str, caller: OpenCall) -> list[Todo]:
    """The tasks that the model finds in the answered exchanges, as todos; new tasks are stored.

    Raises ConversationNotFound, TooManyTodos, ModelError, ContentBlocked, MongoUnavailable, and what ended the call.
    """
    conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
    text, seqs = _transcript(conversation)
    if not seqs:
        return []
    refuse_without_room(owner_id=owner_id)
    call = MeteredCall(
        attempt_id=f"action_items:{uuid.uuid4()}",
        user_id=owner_id,
        organization_id=charged_organization(conversation),
        purpose=LedgerEntry.Purpose.ACTION_ITEMS,
        prompt=Prompt(
            contents=(Content("user", text),),
            system_instruction=INSTRUCTION,
            response_schema=_schema(seqs[0], seqs[-1]),
        ),
    )
    caller.reads(reading_of(conversation, user_id=owner_id))
    caller.on_end(call.control.cancel)
    answer = caller.run(call.run)
    if call.blocked:
        raise ContentBlocked(call.finish_reason)
    tasks = _parse(answer, {seq: message_id(conversation_id, seq) for seq in seqs})
    return file_tasks(owner_id=owner_id, conversation_id=conversation_id, tasks=tasks)


def _transcript(conversation: ConversationDocument) -> tuple[str, list[int]]:
    """The part of the conversation that fits into one call, with a number before each message; and these numbers.

    The summary of older messages comes first, with the number of the last message that it covers.
    """
    last = conversation["next_seq"] - 1
    frame = Prompt(contents=(), system_instruction=INSTRUCTION, response_schema=_schema(last, last))
    budget = window_tokens()
    summary = conversation["summary"]
    earlier = newest_first(
        conversation["owner_id"],
        conversation["_id"],
        before_seq=conversation["next_seq"],
        after_seq=summary["upto_seq"] if summary else 0,
    )
    return numbered_dialogue(
        earlier,
        summary=(summary["text"], summary["upto_seq"]) if summary else None,
        budget=budget - frame.estimated_tokens(),
    )


def _schema(first_seq: int, last_seq: int) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "description": {"type": "string"},
                "seq": {"type": "integer", "minimum": first_seq, "maximum": last_seq},
            },
            "required": ["title", "seq"],
        },
    }


def _parse(answer: str, message_ids: dict[int, str]) -> list[FoundTask]:
    """The tasks in an answer. Raises ModelOutputInvalid for no JSON value, and for items of which none is readable.

    Lengths and numbers are checked here: texts that are too long are cut, and the number of a message that the model
    did not receive links to no message.
    """
    values = read_values(answer)
    items = list(_items(values))
    readable = [task for task in map(_read_task, items) if task is not None]
    if not values or (items and not readable):
        logger.warning("model_answer_unusable", purpose="action_items", characters=len(answer))
        raise ModelOutputInvalid
    tasks = [
        FoundTask(
            title=cut(_storable(" ".join(title.split())), MAX_TITLE_CHARACTERS).strip(),
            description=cut(_storable(description).strip(), MAX_DESCRIPTION_CHARACTERS) or None,
            message_id=message_ids.get(seq),
        )
        for title, description, seq in readable[:MAX_TASKS]
    ]
    return [task for task in tasks if task.title]


def _items(values: list[Any]) -> Iterator[Any]:
    """The candidates for tasks, in order: the items of lists at any depth, or a single object outside a list."""
    waiting = values[::-1]
    while waiting:
        value = waiting.pop()
        inner = value if isinstance(value, list) else None
        if isinstance(value, dict) and _read_task(value) is None:
            inner = [each for each in value.values() if isinstance(each, list | dict)] or None
        if inner is None:
            yield value
        else:
            waiting += inner[::-1]


def _read_task(item: Any) -> tuple[str, str, int] | None:
    """Title, description and message number; None if one is missing or has another type."""
    match item:
        case {"title": str(title), "seq": int() | float() | str() as number}:
            description, seq = item.get("description"), _read_number(number)
            if seq is not None and isinstance(description, str | None):
                return title, description or "", seq
    return None


def _read_number(value: float | str) -> int | None:
    """An integer, including the forms that models write: 3.0, "3", "3.0" or "[3]"."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = re.fullmatch(r"(?!\s*-)[^0-9]{0,20}([0-9]{1,18})(?:\.0{1,9})?[^0-9]{0,20}", value, re.ASCII)
        return int(found[1]) if found else None
    return int(value) if value == value // 1 else None  # neither infinite nor NaN


def _storable(text: str) -> str:
    """The text without NUL and lone surrogates, which JSON allows and PostgreSQL does not."""
    return text.replace("\0", "").encode(errors="replace").decode()
