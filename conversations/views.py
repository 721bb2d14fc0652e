"""The chat calls of CONTRACT section 3."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.requests import AuthenticatedRequest
from conversations import transcript_repository as transcripts
from conversations.pages import message_page
from conversations.replies.follow import Pair, failure_of, wait_for_reply
from conversations.replies.start import start_reply
from conversations.serializers import (
    ConversationInput,
    ConversationOutput,
    ConversationsOutput,
    ConversationsQuery,
    MessageInput,
    MessageOutput,
    MessagesOutput,
    MessagesQuery,
    PairOutput,
    conversation_body,
    message_body,
)
from conversations.services import (
    create_conversation,
    delete_conversation,
    get_conversation,
    get_message,
)
from edgechat.errors import Invalid
from edgechat.validation import validated_body, validated_query

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", location="header", description="The same as `client_message_id`; both and different: 422."
)


class ConversationsView(APIView):
    @extend_schema(
        operation_id="conversation_create",
        tags=["chat"],
        request=ConversationInput,
        responses={201: ConversationOutput},
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """Begin a conversation; the body may be absent."""
        conversation = create_conversation(owner_id=request.user.pk, **validated_body(ConversationInput, request))
        return Response(conversation_body(conversation), status=201)

    @extend_schema(
        operation_id="conversation_list",
        tags=["chat"],
        parameters=[ConversationsQuery],
        responses=ConversationsOutput,
    )
    def get(self, request: AuthenticatedRequest) -> Response:
        """The user's conversations, the latest changed first."""
        query = validated_query(ConversationsQuery, request)
        limit: int = query["limit"]
        found = transcripts.list_conversations(
            request.user.pk,
            limit=limit + 1,
            skip=query.get("skip", 0),
            before_change=int(query["cursor"]) if "cursor" in query else None,
            archived=query["archived"],
        )
        page, has_more = found[:limit], len(found) > limit
        return Response(
            {
                "conversations": [conversation_body(conversation) for conversation in page],
                "has_more": has_more,
                "next_cursor": str(page[-1]["change"]) if has_more else None,
            }
        )


class ConversationView(APIView):
    @extend_schema(operation_id="conversation_get", tags=["chat"], responses=ConversationOutput)
    def get(self, request: AuthenticatedRequest, conversation_id: str) -> Response:
        """One conversation, without its messages."""
        conversation = get_conversation(owner_id=request.user.pk, conversation_id=conversation_id)
        return Response(conversation_body(conversation))

    @extend_schema(operation_id="conversation_delete", tags=["chat"], responses={204: None})
    def delete(self, request: AuthenticatedRequest, conversation_id: str) -> Response:
        """Delete a conversation with its messages."""
        delete_conversation(owner_id=request.user.pk, conversation_id=conversation_id)
        return Response(status=204)


class MessagesView(APIView):
    @extend_schema(
        operation_id="message_send",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY],
        request=MessageInput,
        responses=PairOutput,
        examples=[
            OpenApiExample(
                "Message", value={"content": "Hello! Who are you?", "client_message_id": "7f3c"}, request_only=True
            )
        ],
    )
    def post(self, request: AuthenticatedRequest, conversation_id: str) -> Response:
        """Send a message and get the model's answer.

        The message is stored before the model is asked. If the model fails, the answer is an error whose `context`
        holds both messages, the model's with status `failed`.
        """
        data = validated_body(MessageInput, request)
        started = start_reply(
            owner_id=request.user.pk,
            conversation_id=conversation_id,
            content=data["content"],
            client_message_id=_one_key(request, data["client_message_id"]),
        )
        pair = wait_for_reply(started)
        body = _pair_body(pair)
        failure = failure_of(pair.model_message)
        if failure is not None and not started.had_ended:
            failure.context = body
            raise failure
        return Response(body)

    @extend_schema(operation_id="message_list", tags=["chat"], parameters=[MessagesQuery], responses=MessagesOutput)
    def get(self, request: AuthenticatedRequest, conversation_id: str) -> Response:
        """A page of the conversation's messages, oldest first."""
        query = validated_query(MessagesQuery, request)
        conversation = get_conversation(owner_id=request.user.pk, conversation_id=conversation_id)
        page = message_page(conversation["next_seq"] - 1, **query)
        messages = transcripts.find_messages(request.user.pk, conversation_id, page.seqs)
        return Response({"messages": [message_body(message) for message in messages], "has_more": page.has_more})


class MessageView(APIView):
    @extend_schema(operation_id="message_get", tags=["chat"], responses=MessageOutput)
    def get(self, request: AuthenticatedRequest, conversation_id: str, mid: str) -> Response:
        """One message."""
        message = get_message(owner_id=request.user.pk, conversation_id=conversation_id, mid=mid)
        return Response(message_body(message))


def _pair_body(pair: Pair) -> dict[str, object]:
    return {"user_message": message_body(pair.user_message), "model_message": message_body(pair.model_message)}


def _one_key(request: AuthenticatedRequest, client_message_id: str | None) -> str | None:
    """The idempotency key from the body or the header; Invalid when they differ or the header is too long."""
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return client_message_id
    if not 1 <= len(header) <= 128 or not header.isprintable():
        raise Invalid({"header.Idempotency-Key": "Must have 1 to 128 printable characters."})
    if client_message_id is not None and client_message_id != header:
        raise Invalid({"body.client_message_id": "Differs from the Idempotency-Key header."})
    return header
