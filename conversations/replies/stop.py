"""Stopping a reply, from any process."""

from __future__ import annotations

from accounts.open_calls.registry import OpenCall
from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument
from conversations.queries import MessageNotFound, find_message, get_conversation, get_message
from conversations.replies import channel
from conversations.replies.exchange import Exchange
from conversations.replies.follow import CLAIM_SECONDS, wait_for_claim, wait_for_reply


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
    channel.request_stop(mid, attempt)
    return wait_for_reply(Exchange(owner_id, conversation_id, message["seq"]), call=call).model_message


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
