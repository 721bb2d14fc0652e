"""What a conversation needs after a reply, never in front of one: a title, and a summary of what no longer fits."""

from __future__ import annotations

import re

import structlog
from django.conf import settings
from django.db import OperationalError

from ai.gemini import ModelError, Prompt, Turn
from ai.metered_call import MeteredCall
from conversations import transcript_repository as transcripts
from conversations.context_window import beginning, dialogue, first_kept
from conversations.documents import ConversationDocument
from conversations.history import newest_first, oldest_first
from conversations.services import charged_organization
from edgechat.errors import StoreUnavailable
from usage.budgets import BudgetExceeded
from usage.models import LedgerEntry
from usage.tokens import estimate_tokens, prompt_budget

logger = structlog.get_logger(__name__)

MAX_TITLE_CHARACTERS = 80
TITLE_EXCERPT_CHARACTERS = 2000
# Of a history that was imported, or that grew while the model was away, this much is caught up after each reply.
SUMMARY_CALLS_AT_ONCE = 3


def provisional_title(question: str) -> str:
    """The beginning of the first message, on one line: shown until the model has found a title."""
    return _one_line(question) or "Conversation"


def give_title(conversation: ConversationDocument, *, answer: str, provisional: str, ledger_id: str) -> None:
    """Ask the model for a title of the first answer; it never replaces one of the user's own."""
    instruction = "Write a title of at most six words for the text that follows. Answer with the title only."
    budget = prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
    text = _ask(
        conversation,
        purpose=LedgerEntry.Purpose.TITLE,
        attempt_id=f"{ledger_id}:title",
        instruction=instruction,
        text=beginning(answer[:TITLE_EXCERPT_CHARACTERS], tokens=budget - estimate_tokens(instruction)),
    )
    title = _one_line(text or "")
    if title:
        transcripts.set_generated_title(conversation["owner_id"], conversation["_id"], title, replaces=provisional)


def extend_summary(conversation: ConversationDocument, *, last_seq: int, ledger_id: str) -> None:
    """Summarize what is older than the latest exchanges that fill half of the window.

    Half, so that the next time comes only when as much has been said again.
    """
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    budget = prompt_budget(max_tokens=settings.CONTEXT_MAX_TOKENS, max_output_tokens=settings.AI_MAX_OUTPUT_TOKENS)
    summary = conversation["summary"] or {"text": "", "upto_seq": 0}
    recent = newest_first(owner_id, conversation_id, before_seq=last_seq + 1, after_seq=summary["upto_seq"])
    kept_from = (first_kept(recent, budget=budget // 2) or last_seq + 2) - 1
    # An eighth for the summary, so that it can always be sent along.
    words = max(20, budget // 8 // 2)
    for number in range(SUMMARY_CALLS_AT_ONCE):
        older = oldest_first(owner_id, conversation_id, after_seq=summary["upto_seq"], before_seq=kept_from)
        text, upto_seq = dialogue(older, budget=budget // 2)
        if upto_seq is None:
            return
        if summary["text"]:
            text = f"Summary so far:\n{summary['text']}\n\n{text}"
        answer = _ask(
            conversation,
            purpose=LedgerEntry.Purpose.CONTEXT_SUMMARY,
            attempt_id=f"{ledger_id}:summary:{number}",
            instruction=f"Summarize this conversation in at most {words} words. Keep names, numbers and decisions.",
            text=text,
        )
        if not answer:
            return
        kept = beginning(answer, tokens=budget // 8)
        transcripts.set_summary(
            owner_id, conversation_id, text=kept, upto_seq=upto_seq, replaces_upto_seq=summary["upto_seq"]
        )
        summary = {"text": kept, "upto_seq": upto_seq}


def _ask(
    conversation: ConversationDocument, *, purpose: LedgerEntry.Purpose, attempt_id: str, instruction: str, text: str
) -> str | None:
    """The model's answer; None when there is none to be had, for a chat goes on without titles and summaries."""
    call = MeteredCall(
        attempt_id=attempt_id,
        user_id=conversation["owner_id"],
        organization_id=charged_organization(conversation),
        purpose=purpose,
        prompt=Prompt(turns=(Turn("user", text),), system_instruction=instruction),
    )
    try:
        answer = call.run()
    except (ModelError, BudgetExceeded, OperationalError, StoreUnavailable) as error:
        logger.warning("upkeep_skipped", purpose=str(purpose), reason=type(error).__name__)
        return None
    return None if call.blocked else answer


def _one_line(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip().strip("\"'*#“”").strip()
    if len(line) <= MAX_TITLE_CHARACTERS:
        return line
    return line[: MAX_TITLE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
