"""The call to the model that answers an exchange, built from the claimed conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from django.conf import settings

from ai.calls.metered import MeteredCall
from ai.gemini import Content, Prompt
from conversations.attachments.queries import prompt_pictures
from conversations.documents import AttachmentOutput, ConversationDocument, ReplyDocument, reply_seq
from conversations.prompt.context_window import fits, instruction_with_summary, select_turns
from conversations.prompt.history import newest_first
from conversations.queries import charged_organization
from edgechat.errors import TooLarge
from usage.ledger.tokens import prompt_budget
from usage.models import LedgerEntry


@dataclass
class ReplyCall:
    """An opened call. `overflowed` is true if the conversation no longer fits in the context window.

    The end of the `with` block discards the call, unless it was handed over to the thread that makes it.
    """

    call: MeteredCall
    overflowed: bool
    handed_over: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.handed_over:
            self.call.discard()


def open_reply_call(conversation: ConversationDocument, reply: ReplyDocument) -> ReplyCall:
    """Reserve the largest possible cost of the answer in the budgets.

    Raises BudgetExceeded, MongoUnavailable, and OperationalError when the ledger can't be written.
    """
    summary, draft = conversation["summary"], reply["user_message"]
    instruction = _instruction(conversation)
    window = select_turns(
        Content("user", draft["content"], prompt_pictures(draft["attachments"])),
        newest_first(
            conversation["owner_id"],
            conversation["_id"],
            before_seq=reply_seq(reply) - 1,
            after_seq=summary["upto_seq"] if summary else 0,
        ),
        instruction=instruction,
        budget=_budget(),
    )
    call = MeteredCall(
        attempt_id=reply["ledger_id"],
        user_id=conversation["owner_id"],
        organization_id=charged_organization(conversation),
        purpose=LedgerEntry.Purpose.CHAT,
        prompt=Prompt(contents=window.turns, system_instruction=instruction),
    )
    call.open()
    return ReplyCall(call, window.overflowed)


def refuse_too_long(conversation: ConversationDocument, content: str, attachments: Sequence[AttachmentOutput]) -> None:
    """Raise TooLarge for a message that alone exceeds the context window."""
    question = Content("user", content, prompt_pictures(attachments))
    if not fits(question, instruction=_instruction(conversation), budget=_budget()):
        raise TooLarge(f"The message is longer than the {_budget()} tokens that one message may have")


def _instruction(conversation: ConversationDocument) -> str | None:
    summary = conversation["summary"]
    return instruction_with_summary(conversation["system_instruction"], summary["text"] if summary else None)


def _budget() -> int:
    return prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
