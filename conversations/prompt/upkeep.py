"""Upkeep of a conversation after a reply, which never delays a reply: its title, and the summary of older exchanges."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import OperationalError, connection

from ai.calls.metered import TOO_LONG, MeteredCall
from ai.gemini import Content, ModelError, Prompt
from conversations import transcript_repository as transcripts
from conversations.documents import ConversationDocument, reply_seq
from conversations.prompt.context_window import (
    beginning,
    dialogue,
    first_kept,
    is_as_long_as,
    newest_first,
    oldest_first,
    window_tokens,
)
from conversations.prompt.titles import title_of_answer
from conversations.queries import charged_organization
from conversations.replies.run import CompleteReply
from edgechat.errors import NotAuthenticated, StoreUnavailable
from edgechat.graphemes import cut
from edgechat.metrics import catalog
from edgechat.processes.threads import is_busy, waiting, working
from usage.ledger.budgets import BudgetExceeded
from usage.ledger.local_models import is_local
from usage.ledger.tokens import estimate_tokens
from usage.models import LedgerEntry

logger = structlog.get_logger(__name__)

# Of the question, and of the answer.
TITLE_EXCERPT_CHARACTERS = 2000
TITLE_TOKENS = 32
TITLE_INSTRUCTION = (
    "Write a title of at most six words for the question and answer that follow. Answer with the title only."
)
# The number of simultaneous upkeeps in a process: a burst of first messages must not cause two bursts of calls. An
# upkeep that gets no permit in time is skipped: a provisional title exists, and the next reply extends the summary.
_permits = threading.BoundedSemaphore(4)
PATIENCE_SECONDS = 60.0
# How long upkeep waits before it looks again whether requests and replies still wait for their turns.
BUSY_SECONDS = 0.5
# The maximum number of summary calls after each reply; an imported history needs several replies.
MAX_SUMMARY_CALLS = 3
# Separates a reply's ledger id from the number of its summary call.
SUMMARY_PART = ":summary:"


def look_after(complete: CompleteReply) -> None:
    """Generate the title and the summary if they are due. Failures are logged and not repeated here.

    A local model is too small for titles: the beginning of the user's message stays the title.
    """
    conversation, reply = complete.conversation, complete.reply
    untitled = conversation["title"] is None and complete.answer and not is_local(complete.model)
    if not untitled and not complete.overflowed:
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    with waiting(), catalog.upkeep_waiting.track_inprogress():
        while is_busy() and time.monotonic() < deadline:
            time.sleep(BUSY_SECONDS)
        has_permit = _permits.acquire(timeout=max(0.0, deadline - time.monotonic()))
    if not has_permit:
        logger.warning("upkeep_skipped", message_id=reply["message_id"], reason="busy")
        catalog.upkeep_skipped.labels("busy").inc()
        return
    try:
        with working():
            if untitled:
                give_title(
                    conversation,
                    question=complete.question,
                    answer=complete.answer,
                    provisional=reply.get("first_title"),
                    ledger_id=reply["ledger_id"],
                )
            if complete.overflowed:
                extend_summary(conversation, last_seq=reply_seq(reply), ledger_id=reply["ledger_id"])
    except (StoreUnavailable, OperationalError) as error:
        logger.warning("upkeep_skipped", message_id=reply["message_id"], reason=type(error).__name__)
        catalog.upkeep_skipped.labels("store").inc()
    finally:
        _permits.release()


def give_title(
    conversation: ConversationDocument, *, question: str, answer: str, provisional: str | None, ledger_id: str
) -> None:
    """Ask the model for a title of the first exchange; it never replaces a title set by the user.

    An answer that is longer than a title is not used.
    """
    room = window_tokens() - estimate_tokens(TITLE_INSTRUCTION)
    asked = beginning(cut(question, TITLE_EXCERPT_CHARACTERS), tokens=room // 10)
    text = _ask(
        conversation,
        purpose=LedgerEntry.Purpose.TITLE,
        attempt_id=f"{ledger_id}:title",
        instruction=TITLE_INSTRUCTION,
        question=asked,
        text=beginning(cut(answer, TITLE_EXCERPT_CHARACTERS), tokens=room - estimate_tokens(asked)),
        max_output_tokens=TITLE_TOKENS,
    )
    title = title_of_answer(text or "")
    if title:
        transcripts.set_generated_title(conversation["owner_id"], conversation["_id"], title, replaces=provisional)


def extend_summary(conversation: ConversationDocument, *, last_seq: int, ledger_id: str) -> None:
    """Summarize the exchanges before the latest ones, if they have half a context window or more.

    A claim allows one thread of all processes for each conversation, and it reads the stored summary, so nothing is
    summarized twice. After a call without a summary, the next try comes after half a window of new messages.
    """
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    now = _database_now()
    seconds = MAX_SUMMARY_CALLS * settings.AI_TIMEOUT_SECONDS + 60
    claimed = transcripts.claim_summary(
        owner_id, conversation_id, claim=ledger_id, now=now, until=now + timedelta(seconds=seconds)
    )
    if claimed is None:
        return
    tried_seq = claimed.get("summary_tried_seq") or 0
    try:
        tried_seq = _extend(claimed, last_seq=last_seq, ledger_id=ledger_id, tried_seq=tried_seq)
    finally:
        transcripts.release_summary(owner_id, conversation_id, claim=ledger_id, tried_seq=tried_seq)


def release_lost_summary(attempt_id: str, user_id: int | None) -> bool:
    """Release the summary claim of a dead process's call; always False, because the call itself is over."""
    ledger_id, _, part = attempt_id.rpartition(SUMMARY_PART)
    if user_id is not None and part:
        transcripts.release_summary(user_id, ledger_id.partition(":")[0], claim=ledger_id)
    return False


def _extend(conversation: ConversationDocument, *, last_seq: int, ledger_id: str, tried_seq: int) -> int:
    """The last message for which the model returned no summary; `tried_seq` unless the model is called now."""
    owner_id, conversation_id = conversation["owner_id"], conversation["_id"]
    budget = window_tokens()
    half_window = settings.CONTEXT_MAX_TOKENS // 2
    exchanges_since = newest_first(owner_id, conversation_id, before_seq=last_seq + 1, after_seq=tried_seq)
    if tried_seq and not is_as_long_as(exchanges_since, tokens=half_window):
        return tried_seq
    summary = conversation["summary"] or {"text": "", "upto_seq": 0}
    recent = newest_first(owner_id, conversation_id, before_seq=last_seq + 1, after_seq=summary["upto_seq"])
    # The kept exchanges, the summary (an eighth) and half a window fit together with a question of usual length.
    kept_from = (first_kept(recent, budget=budget // 8, alone=budget // 3) or last_seq + 2) - 1
    words = max(20, budget // 8 // 2)
    instruction = f"Summarize this conversation in at most {words} words. Keep names, numbers and decisions."
    for number in range(MAX_SUMMARY_CALLS):
        older = oldest_first(owner_id, conversation_id, after_seq=summary["upto_seq"], before_seq=kept_from)
        so_far = f"Summary so far:\n{summary['text']}\n\n" if summary["text"] else ""
        room = budget - estimate_tokens(instruction) - estimate_tokens(so_far)
        text, upto_seq = dialogue(older, budget=room, least=min(half_window, room))
        if upto_seq is None:
            break
        answer = _ask(
            conversation,
            purpose=LedgerEntry.Purpose.CONTEXT_SUMMARY,
            attempt_id=f"{ledger_id}{SUMMARY_PART}{number}",
            instruction=instruction,
            text=so_far + text,
        )
        if not answer or not answer.strip():
            return last_seq
        kept = beginning(answer, tokens=budget // 8)
        transcripts.set_summary(
            owner_id, conversation_id, text=kept, upto_seq=upto_seq, replaces_upto_seq=summary["upto_seq"]
        )
        summary = {"text": kept, "upto_seq": upto_seq}
    return 0


def _database_now() -> datetime:
    """PostgreSQL's time, which is the same clock for all processes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def _ask(
    conversation: ConversationDocument,
    *,
    purpose: LedgerEntry.Purpose,
    attempt_id: str,
    instruction: str,
    text: str,
    question: str = "",
    max_output_tokens: int | None = None,
) -> str | None:
    """The model's answer; None if the call fails, because a chat continues without titles and summaries.

    `question` goes before the text, in a message of its own. An answer that exceeds `max_output_tokens` is None too.
    """
    prompt = Prompt(
        contents=tuple(Content("user", each) for each in (question, text) if each), system_instruction=instruction
    )
    if max_output_tokens is not None:
        prompt = replace(prompt, max_output_tokens=min(max_output_tokens, prompt.max_output_tokens))
    call = MeteredCall(
        attempt_id=attempt_id,
        user_id=conversation["owner_id"],
        organization_id=charged_organization(conversation),
        purpose=purpose,
        prompt=prompt,
    )
    try:
        answer = call.run()
    except (ModelError, BudgetExceeded, OperationalError, StoreUnavailable, NotAuthenticated) as error:
        logger.warning("upkeep_skipped", purpose=str(purpose), reason=type(error).__name__)
        catalog.upkeep_skipped.labels("call").inc()
        return None
    is_cut = max_output_tokens is not None and call.finish_reason == TOO_LONG
    return None if call.blocked or is_cut else answer
