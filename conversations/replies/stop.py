"""Stopping a reply, from any process."""

from __future__ import annotations

from collections.abc import Sequence

from accounts.open_calls.registry import OpenCall
from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument, ReplyKey
from conversations.queries import MessageNotFound, find_message, get_conversation, get_message
from conversations.replies.follow import CLAIM_SECONDS, wait_for_claim, wait_for_reply
from conversations.replies.live import all_running, find_running
from edgechat.http import notices
from usage import processes

STOP = "stop"


def stop_reply(*, owner_id: int, conversation_id: str, mid: str, call: OpenCall) -> MessageDocument:
    """End a running reply with the text that it has. A reply that has ended is returned unchanged.

    A reply that was regenerated after it was read continues. The request is stored first, so that the process that
    writes the reply, or takes it over, finds it.
    """
    message = _stored_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid, call=call)
    if message["role"] != "model":
        raise MessageNotFound
    if message["status"] != "generating":
        return message
    attempt = transcripts.request_stop(owner_id, conversation_id, mid=mid, attempt=message["attempt"])
    if attempt is None:
        return get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
    request_stop(mid, attempt)
    return wait_for_reply(ReplyKey(owner_id, conversation_id, message["seq"]), call=call).model_message


def _stored_message(*, owner_id: int, conversation_id: str, mid: str, call: OpenCall) -> MessageDocument:
    """The message; waits for the message of a claimed reply that is not stored yet."""
    pause = CLAIM_SECONDS
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        try:
            return find_message(conversation, mid)
        except MessageNotFound:
            if conversation["reply"] is None or conversation["reply"]["message_id"] != mid:
                raise
        pause = wait_for_claim(call, pause)


def request_stop(message_id: str, attempt: int) -> None:
    """Ask the process that writes this attempt at a reply to stop it; later attempts are not affected.

    Without Redis, the process finds the request at its next heartbeat.
    """
    live = find_running(message_id)
    if live is not None and live.attempt == attempt:
        live.control.cancel()
    else:
        notices.publish(STOP, [_attempt_name(message_id, attempt)])


def hear_stop(digests: Sequence[str]) -> None:
    """Listen for STOP notices."""
    for live in all_running():
        if notices.digest(_attempt_name(live.message_id, live.attempt)) in digests and not live.lease_lost:
            live.control.cancel()


def drop_lost_and_stopped() -> None:
    """Stop writing replies whose lease this process has lost, and replies for which a user requested a stop."""
    if not (running := all_running()):
        return
    worker = processes.this_process()
    stopped = transcripts.find_stop_requests(worker=worker)
    for reply in running:
        if reply.worker != worker:
            reply.lose_lease()
        elif (reply.message_id, reply.attempt) in stopped:
            reply.control.cancel()


def _attempt_name(message_id: str, attempt: int) -> str:
    return f"{message_id}:{attempt}"
