"""The call to the model that answers an exchange, made up from the conversation as it is before the claim.

The claim fails if the conversation has changed since, so it needs no second look; and what the call can cost is taken
from the budgets before anything is stored.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from ai.gemini import Prompt, Turn
from ai.metered_call import MeteredCall
from conversations.attachments import prompt_pictures
from conversations.context_window import instruction_with_summary, select_turns
from conversations.documents import ConversationDocument, ReplyDocument, reply_seq
from conversations.history import newest_first
from conversations.services import charged_organization
from edgechat.threads import release_database
from usage.models import LedgerEntry
from usage.tokens import prompt_budget


@dataclass
class ReplyCall:
    """An opened call; `overflowed`: the conversation has outgrown the context window.

    `handed_over`: a thread makes it, and settles it.
    """

    call: MeteredCall
    overflowed: bool
    handed_over: bool = False


def new_ledger_id(mid: str, attempt: int) -> str:
    """The ledger's name for an attempt: two that prepare the same one at once, of which one gets the claim, differ."""
    return f"{ledger_id_prefix(mid, attempt)}{secrets.token_hex(4)}"


def ledger_id_prefix(mid: str, attempt: int) -> str:
    """What the names of all that prepare the same attempt begin with."""
    return f"{mid}:{attempt}:"


@contextmanager
def reply_call(conversation: ConversationDocument, reply: ReplyDocument) -> Iterator[ReplyCall]:
    """The call, opened, and discarded at the end of the block if it was not handed over in it.

    Raises BudgetExceeded, MongoUnavailable, and OperationalError when the ledger can't be written.
    """
    asked = _open_reply_call(conversation, reply)
    try:
        release_database()
        yield asked
    finally:
        if not asked.handed_over:
            asked.call.discard()


def _open_reply_call(conversation: ConversationDocument, reply: ReplyDocument) -> ReplyCall:
    summary, draft = conversation["summary"], reply["user_message"]
    instruction = instruction_with_summary(conversation["system_instruction"], summary["text"] if summary else None)
    window = select_turns(
        Turn("user", draft["content"], prompt_pictures(draft["attachments"])),
        newest_first(
            conversation["owner_id"],
            conversation["_id"],
            before_seq=reply_seq(reply) - 1,
            after_seq=summary["upto_seq"] if summary else 0,
        ),
        instruction=instruction,
        budget=prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS),
    )
    call = MeteredCall(
        attempt_id=reply["ledger_id"],
        user_id=conversation["owner_id"],
        organization_id=charged_organization(conversation),
        purpose=LedgerEntry.Purpose.CHAT,
        prompt=Prompt(turns=window.turns, system_instruction=instruction),
    )
    call.open()
    return ReplyCall(call, window.overflowed)
