"""Stopping a reply, from any process."""

from __future__ import annotations

from accounts.open_calls import OpenCall
from conversations import transcript_repository as transcripts
from conversations.documents import MessageDocument
from conversations.replies import channel
from conversations.replies.exchange import Exchange
from conversations.replies.follow import wait_for_reply
from conversations.services import MessageNotFound, get_message


def stop_reply(*, owner_id: int, conversation_id: str, mid: str, call: OpenCall) -> MessageDocument:
    """End a running reply with the text that it has; one that has ended is answered as it is, and one that is written
    anew since it was looked at goes on.

    The wish is stored first, so whoever writes the reply, or takes it over, will find it.
    """
    message = get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
    if message["role"] != "model":
        raise MessageNotFound
    if message["status"] != "generating":
        return message
    attempt = transcripts.request_stop(owner_id, conversation_id, mid=mid, attempt=message["attempt"])
    if attempt is None:
        return get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
    channel.request_stop(mid, attempt)
    return wait_for_reply(Exchange(owner_id, conversation_id, message["seq"]), call=call).model_message
