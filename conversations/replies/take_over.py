"""Take-over of replies whose process is dead: they are started again or ended."""

from __future__ import annotations

from contextlib import suppress

import structlog
from django.db import OperationalError

from accounts.open_calls.slots import take_slot
from conversations import transcript_repository as transcripts
from conversations.attachments.files import AttachmentNotFound
from conversations.attachments.services import record_uses
from conversations.documents import ConversationDocument, MessageDocument, ReplyDocument, reply_seq
from conversations.prompt.context_window import reply_prompt
from conversations.replies.failure import end_refused_reply
from conversations.replies.live import is_running
from conversations.replies.run import run_detached
from conversations.replies.shutdown import is_shutting_down
from conversations.replies.start import claiming, is_claiming, new_ledger_id, open_reply_call
from edgechat.errors import StoreUnavailable
from edgechat.metrics import catalog
from edgechat.stores.mongo import MongoRefused
from usage import processes
from usage.ledger import services as ledger
from usage.ledger.budgets import BudgetExceeded
from usage.ledger.tokens import estimate_tokens
from usage.models import Process

logger = structlog.get_logger(__name__)

REAP_SECONDS = 2.0
REPLIES_PER_BATCH = 200
STRAY_SECONDS = 6.0
STRAYS_LOOKED_AT = 5000
# A reply whose process died this many times may be the cause.
MAX_ATTEMPTS_PER_ANSWER = 3


def take_over_replies(*, restart: bool = True) -> int:
    """Take over the replies of processes that are dead or gave up their lease; the number taken over.

    Without `restart` they end as interrupted.
    """
    if is_shutting_down():
        return 0
    lost = processes.find_lost(by_hand=not restart)
    if not lost:
        return 0
    named = transcripts.find_workers_with_replies(lost)
    taken = 0
    for worker in named:
        for conversation in list(transcripts.find_replies_of(worker, limit=REPLIES_PER_BATCH)):
            taken += _try_to_take_over(conversation, restart=restart)
    processes.forget(set(lost) - named)
    return taken


def settles_call(attempt_id: str, user_id: int | None) -> bool:
    """Whether a dead process's call belongs to a running reply, whose take-over settles it with the text so far."""
    if user_id is None:
        return False
    conversation = transcripts.find_conversation(user_id, attempt_id.partition(":")[0])
    reply = conversation["reply"] if conversation else None
    return reply is not None and _ledger_id(reply) == attempt_id


def take_stray_replies() -> None:
    """Take over this process's own replies that no thread writes, because a store failed between claim and thread.

    Only replies that were also strays at the previous call are taken over.
    """
    global _strays
    if is_shutting_down():
        return
    found = {
        f"{reply['message_id']}:{reply['attempt']}": conversation
        for conversation in transcripts.find_replies_of(processes.this_process(), limit=STRAYS_LOOKED_AT)
        if (reply := conversation["reply"])
        and not (is_claiming(conversation["_id"]) or is_running(reply["message_id"]))
    }
    for key in _strays & found.keys():
        _try_to_take_over(found[key], restart=True)
    _strays = set(found)


_strays: set[str] = set()


def declare_unknown_workers_dead() -> None:
    """Declare processes dead that running replies name but that have no row, so that their replies are taken over.

    Their rows were lost, or they are of an earlier version, which appended `:1` to the name of its row. No process
    can return under such a name.
    """
    known = {process.name: process for process in Process.objects.all()}
    for worker in transcripts.find_unknown_workers(known=list(known)):
        older = known.get(worker.rpartition(":")[0])
        if older is None or older.dead:
            processes.declare_dead(worker)


def _try_to_take_over(conversation: ConversationDocument, *, restart: bool) -> bool:
    try:
        with claiming(conversation["_id"]):
            try:
                return _take_over(conversation, restart=restart)
            except MongoRefused as error:
                if conversation["reply"] is not None:
                    end_refused_reply(conversation, conversation["reply"], error)
    except (StoreUnavailable, OperationalError) as error:
        # If the reply was taken, it is now a stray of this process.
        logger.warning("take_over_deferred", conversation_id=conversation["_id"], reason=type(error).__name__)
    except Exception:  # an error of one reply must not stop the take-over of the others
        logger.exception("take_over_failed", conversation_id=conversation["_id"])
    return False


def _take_over(conversation: ConversationDocument, *, restart: bool) -> bool:
    owner_id, conversation_id, reply = conversation["owner_id"], conversation["_id"], conversation["reply"]
    if reply is None:
        return False
    taken: ReplyDocument = {**reply, "worker": processes.this_process(), "ledger_id": _ledger_id(reply)}
    if not transcripts.take_reply(owner_id, conversation_id, reply, worker=taken["worker"]):
        return False
    conversation["reply"] = reply = taken
    for attachment in reply["user_message"]["attachments"]:
        with suppress(AttachmentNotFound):  # the user may delete a picture that was sent
            record_uses([attachment], conversation_id=conversation_id)
    transcripts.prepare_messages(owner_id, conversation_id, reply)
    message = _model_message(owner_id, conversation_id, reply)
    if message is None or message["status"] != "generating":
        # The process died between the last two writes: the reply has ended, but the conversation is not free yet.
        complete = message is not None and message["status"] == "complete"
        transcripts.release_reply(owner_id, conversation_id, reply, complete=complete)
        catalog.reply_take_overs.labels("released").inc()
        return True
    logger.warning("reply_taken_over", message_id=reply["message_id"], attempt=reply["attempt"])
    # The dead process may have called the model, and those tokens are billed.
    ledger.settle_from_estimate(reply["ledger_id"], output_tokens=estimate_tokens(message["content"]))
    if reply["stop_requested"]:
        _end(conversation, reply, message, status="stopped")
    elif not restart or reply["attempt"] - reply["first_attempt"] + 1 >= MAX_ATTEMPTS_PER_ANSWER:
        _end(conversation, reply, message, status="interrupted")
    else:
        _begin_again(conversation, reply, message)
    return True


def _begin_again(conversation: ConversationDocument, reply: ReplyDocument, message: MessageDocument) -> None:
    owner_id, conversation_id, attempt = conversation["owner_id"], conversation["_id"], reply["attempt"] + 1
    ledger_id = new_ledger_id(conversation, reply["message_id"], attempt)
    again: ReplyDocument = {**reply, "attempt": attempt, "ledger_id": ledger_id}
    if not transcripts.begin_attempt(owner_id, conversation_id, again):
        return
    conversation["reply"] = again
    exchange = transcripts.prepare_messages(owner_id, conversation_id, again)
    prompt = reply_prompt(conversation, again["user_message"], seq=reply_seq(again))
    with take_slot("replies", owner_id, group=conversation_id, always=True) as slot:
        try:
            with open_reply_call(conversation, again, prompt) as call:
                catalog.reply_take_overs.labels("restarted").inc()
                run_detached(conversation, again, exchange, call, slot, earlier_text=message["content"])
        except BudgetExceeded:
            _end(conversation, again, message, status="interrupted")


def _end(conversation: ConversationDocument, reply: ReplyDocument, message: MessageDocument, *, status: str) -> None:
    final = {"content": message["content"], "status": status}
    catalog.reply_take_overs.labels(status).inc()
    transcripts.end_reply(conversation["owner_id"], conversation["_id"], reply, final)


def _ledger_id(reply: ReplyDocument) -> str:
    """The ledger entry's id. Versions before budgets used this form and did not store it in the reply."""
    return reply.get("ledger_id", f"{reply['message_id']}:{reply['attempt']}")


def _model_message(owner_id: int, conversation_id: str, reply: ReplyDocument) -> MessageDocument | None:
    found = transcripts.find_messages(owner_id, conversation_id, [reply_seq(reply)], variants=False)
    return found[0] if found else None
