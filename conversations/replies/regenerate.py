"""Answering the last exchange again."""

from __future__ import annotations

from accounts.open_calls.slots import take_slot
from conversations.documents import UserMessageDraft
from conversations.queries import get_conversation, get_message
from conversations.replies.call import refuse_too_long
from conversations.replies.exchange import Exchange, find_pair
from conversations.replies.start import start_reply
from conversations.services import refuse_while_replying
from edgechat.errors import ApiError


class NotLastExchange(ApiError):
    status, code = 409, "not_last_exchange"
    detail = "Only the last exchange of a conversation can be answered again"


def regenerate_reply(*, owner_id: int, conversation_id: str, mid: str, content: str | None = None) -> Exchange:
    """Answer the last exchange again, and change its user's message to `content` if that is given.

    `mid` is the id of either message. The earlier content is kept in `variants`. Raises ConversationNotFound,
    MessageNotFound, NotLastExchange, GenerationInProgress, TooLarge, TooManyReplies, BudgetExceeded and
    MongoUnavailable.
    """
    while True:
        conversation = get_conversation(owner_id=owner_id, conversation_id=conversation_id)
        message = get_message(owner_id=owner_id, conversation_id=conversation_id, mid=mid)
        exchange = Exchange(owner_id, conversation_id, message["seq"] + (message["role"] == "user"))
        conversation = refuse_while_replying(conversation)
        if exchange.seq != conversation["next_seq"] - 1:
            raise NotLastExchange
        pair = find_pair(exchange)
        question = pair.user_message["content"] if content is None else content
        refuse_too_long(conversation, question, pair.user_message["attachments"])
        draft: UserMessageDraft = {
            "content": question,
            "client_message_id": pair.user_message["client_message_id"],
            "body_hash": pair.user_message["body_hash"] or "",
            "attachments": pair.user_message["attachments"],
        }
        attempt = pair.model_message["attempt"] + 1
        with take_slot("replies", owner_id, group=conversation_id) as slot:
            if start_reply(conversation, seq=exchange.seq, attempt=attempt, draft=draft, slot=slot):
                return exchange
