"""The calls for messages and replies."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter

from accounts.open_calls.registry import OpenCall, Reading, open_call
from accounts.open_calls.slots import TooManyReplies
from accounts.requests import AuthenticatedRequest
from ai.errors import MODEL_ERRORS
from ai.gemini import ModelError, ModelQuotaExceeded
from conversations.documents import ReplyKey
from conversations.messages.pages import message_page
from conversations.queries import (
    ConversationNotFound,
    MessageNotFound,
    find_message,
    get_readable_conversation,
    get_readable_message,
    read_messages,
    reading_of,
)
from conversations.replies.failure import failure_of
from conversations.replies.follow import (
    Position,
    opening_exchange,
    parse_position,
    replay_ended,
    stream_reply,
    wait_for_reply,
)
from conversations.replies.live import find_running
from conversations.replies.shutdown import ShuttingDown
from conversations.replies.start import NotLastExchange, regenerate_reply, send_message
from conversations.replies.stop import stop_reply
from conversations.serializers import (
    REPLY_EVENTS,
    ExchangeOutput,
    FeedbackInput,
    MessageInput,
    MessageOutput,
    MessagesOutput,
    MessagesQuery,
    RegenerateInput,
    exchange_body,
    message_body,
)
from conversations.services import GenerationInProgress, give_feedback
from edgechat.errors import Invalid, PermissionDenied, StoreUnavailable
from edgechat.http.answer_bytes import page_of
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, NoContent
from edgechat.http.event_stream import STREAM, wants_event_stream
from edgechat.http.idempotency import IDEMPOTENCY_KEY, IdempotencyConflict, idempotency_key
from edgechat.http.validation import validated_body, validated_query
from edgechat.openapi.notes import extend_schema, raises

LAST_EVENT_ID = OpenApiParameter("Last-Event-ID", location="header", description="The `id` of the last event seen.")
# What errors of a failed reply have as their context.
FAILED_REPLY: dict[str, Any] = {"failing": (ModelError, ModelQuotaExceeded), "failed_with": ExchangeOutput}
REPLY_ERRORS = (*MODEL_ERRORS, PermissionDenied, GenerationInProgress, ShuttingDown)
# What a call raises as JSON and as events.
send_errors = raises(ConversationNotFound, *REPLY_ERRORS, IdempotencyConflict, **FAILED_REPLY)
regenerate_errors = raises(MessageNotFound, *REPLY_ERRORS, NotLastExchange, **FAILED_REPLY)


class MessagesView(APIView):
    @extend_schema(
        operation_id="message_send",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY, STREAM],
        request=MessageInput,
        responses={(200, "application/json"): ExchangeOutput, (200, "text/event-stream"): REPLY_EVENTS},
    )
    @send_errors
    def post(self, request: AuthenticatedRequest, conversation_id: str) -> HttpResponseBase:
        """Send a message and get the model's answer.

        The message is stored before the model is called. If the model fails, the response is an error whose `context`
        contains both messages, the model's with status `failed`. With `Accept: text/event-stream` or `?stream=true` the
        answer comes as the events of `message_send_stream`.

        The same `client_message_id`, or `Idempotency-Key`, again gets the same pair without a second answer. A client
        that logs out during the request gets 401 `token_revoked`, in a stream as the last event `error`; the reply
        continues. The expiry of an access token does not end a request.
        """
        return _send(request, conversation_id, events=wants_event_stream(request))

    @extend_schema(operation_id="message_list", tags=["chat"], parameters=[MessagesQuery])
    @raises(ConversationNotFound)
    def get(self, request: AuthenticatedRequest, conversation_id: str) -> Answer[MessagesOutput]:
        """List the messages of a conversation.

        The oldest come first; without a parameter it is the oldest page. A page ends early at 1 MB, with `has_more`. To
        page on, clients continue after the last message received, or before the first one, not `limit` further.
        """
        query = validated_query(MessagesQuery, request)
        conversation = get_readable_conversation(user_id=request.user.pk, conversation_id=conversation_id)
        page = message_page(conversation["next_seq"] - 1, **query)
        # Reading starts at the end that must be on the page if the page is cut.
        backwards = query["latest"] or "before" in query
        stored = read_messages(conversation, page.seqs[::-1] if backwards else page.seqs)
        bodies, cut = page_of(message_body(message) for message in stored)
        messages = bodies[::-1] if backwards else bodies
        return Answer(MessagesOutput(messages=messages, has_more=page.has_more or cut))


class MessageView(APIView):
    @extend_schema(operation_id="message_get", tags=["chat"])
    @raises(MessageNotFound)
    def get(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> Answer[MessageOutput]:
        """Get one message.

        Of a running reply it has the part that is stored; `message_stream` has the newest text.
        """
        message = get_readable_message(user_id=request.user.pk, conversation_id=conversation_id, mid=mid)
        return Answer(message_body(message))


class FeedbackView(APIView):
    @extend_schema(
        operation_id="message_feedback",
        tags=["chat"],
        request=FeedbackInput,
    )
    @raises(MessageNotFound, PermissionDenied)
    def put(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> Answer[MessageOutput]:
        """Rate an answer.

        The rating and the comment replace the earlier ones. A rating of null without a comment removes the feedback.
        """
        data = validated_body(FeedbackInput, request)
        message = give_feedback(
            owner_id=request.user.pk,
            conversation_id=conversation_id,
            mid=mid,
            rating=data["rating"],
            comment=data["comment"] or None,
        )
        return Answer(message_body(message))


class StopView(APIView):
    @extend_schema(operation_id="message_stop", tags=["chat"], request=None)
    @raises(MessageNotFound, PermissionDenied, ShuttingDown)
    def post(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> Answer[MessageOutput]:
        """Stop a running reply.

        Its call to the model ends, and its text so far is kept with status `stopped`. A reply that has ended stays the
        same.
        """
        with open_call(request) as call:
            message = stop_reply(owner_id=request.user.pk, conversation_id=conversation_id, mid=mid, call=call)
            return Answer(message_body(message))


class RegenerateView(APIView):
    @extend_schema(
        operation_id="message_regenerate",
        tags=["chat"],
        parameters=[STREAM],
        request=RegenerateInput,
        responses={(200, "application/json"): ExchangeOutput, (200, "text/event-stream"): REPLY_EVENTS},
    )
    @regenerate_errors
    def post(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> HttpResponseBase:
        """Answer the last exchange again.

        The user's message may be changed with `content`. What was there before becomes a variant. `mid` is one of the
        two messages of the last exchange; an earlier one is 409 `not_last_exchange`. With `Accept: text/event-stream`
        or `?stream=true` the answer comes as the events of `message_regenerate_stream`.
        """
        return _regenerate(request, conversation_id, mid, events=wants_event_stream(request))


class SendStreamView(APIView):
    @extend_schema(
        operation_id="message_send_stream",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY],
        request=MessageInput,
        responses={(200, "text/event-stream"): REPLY_EVENTS},
    )
    @send_errors
    def post(self, request: AuthenticatedRequest, conversation_id: str) -> HttpResponseBase:
        """Send a message and get the answer as events.

        This is `message_send`, and the answer comes as events while it is written. Closing the connection does not stop
        the reply: `message_stream` follows it from the last event, and `message_stop` stops it.
        """
        return _send(request, conversation_id, events=True)


class RegenerateStreamView(APIView):
    @extend_schema(
        operation_id="message_regenerate_stream",
        tags=["chat"],
        request=RegenerateInput,
        responses={(200, "text/event-stream"): REPLY_EVENTS},
    )
    @regenerate_errors
    def post(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> HttpResponseBase:
        """Answer the last exchange again, as events.

        This is `message_regenerate`, and the new answer comes as events while it is written. Closing the connection
        does not stop the reply: `message_stream` follows it from the last event, and `message_stop` stops it.
        """
        return _regenerate(request, conversation_id, mid, events=True)


class StreamView(APIView):
    @extend_schema(
        operation_id="message_stream",
        tags=["chat"],
        parameters=[LAST_EVENT_ID],
        responses={(200, "text/event-stream"): REPLY_EVENTS, 204: None},
    )
    @raises(MessageNotFound, TooManyReplies)
    def get(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> HttpResponseBase:
        """Follow a reply from the last event seen.

        The reply may run or have ended: the events after `Last-Event-ID` come, or all without it. After the final event
        the answer is 204.

        If the session ends, or the user can no longer read the conversation, the last event is `error`, with 401
        `token_revoked` or 404. A user can have MAX_STREAMS_PER_USER (20) open event streams; beyond that: 429
        `too_many_replies`.
        """
        with open_call(request, events=True) as call:
            conversation = get_readable_conversation(user_id=request.user.pk, conversation_id=conversation_id)
            message = find_message(conversation, mid)
            if message["role"] != "model":
                raise MessageNotFound
            since = parse_position(request.headers.get("Last-Event-ID")) or Position(0, 0)
            if message["status"] != "generating":
                if since.ended and since.attempt == message["attempt"]:
                    return NoContent()
                events = replay_ended(message, since)
            else:
                call.reads(reading_of(conversation, user_id=request.user.pk))
                key = ReplyKey(message["owner_id"], conversation_id, message["seq"])
                events = stream_reply(key, call=call, since=since)
            return call.stream(events)


def _send(request: AuthenticatedRequest, conversation_id: str, *, events: bool) -> HttpResponseBase:
    data = validated_body(MessageInput, request)
    with open_call(request, events=events) as call:
        key, running = send_message(
            owner_id=request.user.pk,
            conversation_id=conversation_id,
            content=data["content"],
            attachment_ids=data["attachment_ids"],
            client_message_id=_one_key(request, data["client_message_id"]),
            call=call,
        )
        return _answer(key, events=events, running=running, call=call)


def _regenerate(request: AuthenticatedRequest, conversation_id: str, mid: str, *, events: bool) -> HttpResponseBase:
    data = validated_body(RegenerateInput, request)
    with open_call(request, events=events) as call:
        key = regenerate_reply(
            owner_id=request.user.pk, conversation_id=conversation_id, mid=mid, content=data["content"]
        )
        return _answer(key, events=events, running=True, call=call)


def _answer(key: ReplyKey, *, events: bool, running: bool, call: OpenCall) -> HttpResponseBase:
    """The exchange once its reply has ended, or the reply's events.

    A reply that fails during this call is answered with an error and the exchange as `context`, and so is one whose end
    cannot be stored now; one that failed in an earlier call is returned as stored.
    """
    call.reads(Reading(key.owner_id, key.conversation_id, organization_id=None))
    if events:
        return call.stream(stream_reply(key, call=call, first=opening_exchange(key)))
    try:
        exchange = wait_for_reply(key, call=call)
    except StoreUnavailable as error:
        live = find_running(key.message_id)
        if live is not None:
            # Both messages are stored: a client without a key must not send its message again.
            error.context = dict(exchange_body(live.exchange))
        raise
    if running and exchange.model_message["status"] == "failed":
        failure = failure_of(exchange.model_message)
        failure.context = dict(exchange_body(exchange))
        raise failure
    return Answer(exchange_body(exchange))


def _one_key(request: AuthenticatedRequest, client_message_id: str | None) -> str | None:
    """The idempotency key from the body or the header. Raises Invalid if they differ."""
    header = idempotency_key(request)
    if header is not None and client_message_id is not None and client_message_id != header:
        raise Invalid({"body.client_message_id": "Differs from the Idempotency-Key header."})
    return client_message_id if header is None else header
