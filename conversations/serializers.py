"""Input and output of the chat calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict

from rest_framework import serializers

from ai.serializers import MAX_SYSTEM_INSTRUCTION_CHARACTERS, FinishReason
from conversations.cursors import parse_change_cursor, parse_time_cursor
from conversations.documents import (
    AttachmentOutput,
    Exchange,
    FeedbackOutput,
    ListedConversation,
    Role,
    ShownMessage,
    Status,
    VariantOutput,
    is_conversation_id,
    is_message_id,
)
from edgechat.errors import Error
from edgechat.http.bodies import Events
from edgechat.http.event_stream import EVENT_FORM, PING_MEANING, DeltaEvent
from edgechat.http.validation import BoundedListField
from usage.ledger.tokens import TokenUsageOutput

MAX_CONTENT_CHARACTERS = 32_000
MAX_TITLE_CHARACTERS = 200
MAX_ATTACHMENTS_OF_A_MESSAGE = 5
MAX_SEARCH_WORDS = 10


class ConversationInput(serializers.Serializer[Any]):
    title = serializers.CharField(
        max_length=MAX_TITLE_CHARACTERS,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="The title. Without one, the first reply gives the conversation its title.",
    )
    system_instruction = serializers.CharField(
        max_length=MAX_SYSTEM_INSTRUCTION_CHARACTERS,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="What the model is told before every message.",
    )
    organization_id = serializers.IntegerField(
        allow_null=True,
        default=None,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The organization whose members can read the conversation, and whose budget is charged too.",
    )
    temporary = serializers.BooleanField(
        default=False, help_text="Whether the conversation is deleted after 24 hours and left out of lists and search."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {**attrs, "title": attrs["title"] or None, "system_instruction": attrs["system_instruction"] or None}


class ConversationChange(serializers.Serializer[Any]):
    title = serializers.CharField(
        max_length=MAX_TITLE_CHARACTERS,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="The new title; null or empty for none.",
    )
    pinned = serializers.BooleanField(required=False, help_text="Whether it is pinned.")
    archived = serializers.BooleanField(required=False, help_text="Whether it is archived.")
    system_instruction = serializers.CharField(
        max_length=MAX_SYSTEM_INSTRUCTION_CHARACTERS,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="What the model is told before every later message; null or empty for nothing.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return {name: None if value == "" else value for name, value in attrs.items()}


class ConversationsQuery(serializers.Serializer[Any]):
    limit = serializers.IntegerField(
        min_value=1, max_value=100, default=20, help_text="The maximum number of conversations on the page."
    )
    skip = serializers.IntegerField(
        min_value=0,
        max_value=1_000_000,
        required=False,
        help_text="The number of conversations to leave out at the start. Not with `cursor`.",
    )
    cursor = serializers.CharField(
        source="after", max_length=100, required=False, help_text="The `next_cursor` of the page before."
    )
    archived = serializers.BooleanField(
        default=False, help_text="Whether to list the archived conversations instead of the others."
    )
    pinned_first = serializers.BooleanField(default=False, help_text="Whether pinned conversations come first.")
    q = serializers.CharField(
        source="title_contains", max_length=200, required=False, allow_blank=True, help_text="Part of the title."
    )
    organization_id = serializers.IntegerField(
        min_value=1,
        max_value=2**63 - 1,
        required=False,
        help_text="Only what the members of this organization share. Not with skip or pinned_first.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        shared = "organization_id" in attrs
        if (cursor := attrs.get("after")) is not None:
            if "skip" in attrs:
                raise serializers.ValidationError({"cursor": "Give either skip or cursor."})
            after = parse_time_cursor(cursor, is_conversation_id) if shared else parse_change_cursor(cursor)
            if after is None:
                raise serializers.ValidationError({"cursor": "Not a cursor."})
            attrs["after"] = after
        if shared:
            # Pins belong to the conversation's author.
            pinned_first = attrs.pop("pinned_first")
            if "skip" in attrs or pinned_first:
                name = "skip" if "skip" in attrs else "pinned_first"
                raise serializers.ValidationError({name: "Cannot be combined with organization_id."})
        return attrs


class MessageInput(serializers.Serializer[Any]):
    content = serializers.CharField(
        max_length=MAX_CONTENT_CHARACTERS,
        trim_whitespace=False,
        help_text="The text of the message, which is Markdown or plain text: 1 to 32,000 characters.",
    )
    attachment_ids = BoundedListField(
        child=serializers.CharField(max_length=64),
        max_length=MAX_ATTACHMENTS_OF_A_MESSAGE,
        default=list,
        help_text="The ids of up to five uploaded pictures that the model is to see.",
    )
    client_message_id = serializers.CharField(
        max_length=128,
        allow_null=True,
        default=None,
        help_text="A message that is sent twice is stored once.",
    )

    def validate_attachment_ids(self, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise serializers.ValidationError("Contains the same attachment twice.")
        return value


class RegenerateInput(serializers.Serializer[Any]):
    content = serializers.CharField(
        max_length=MAX_CONTENT_CHARACTERS,
        trim_whitespace=False,
        allow_null=True,
        default=None,
        help_text="The user's message as it should have been. Null or absent: the same message is answered again.",
    )


class FeedbackInput(serializers.Serializer[Any]):
    rating = serializers.ChoiceField(choices=["up", "down"], allow_null=True, help_text="The rating; null for none.")
    comment = serializers.CharField(
        max_length=2000,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="What the user says about the answer; null or empty for nothing.",
    )


class SearchQuery(serializers.Serializer[Any]):
    q = serializers.CharField(
        source="query", max_length=200, help_text=f"Up to {MAX_SEARCH_WORDS} words, or parts of words."
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=100, default=20, help_text="The maximum number of results on the page."
    )
    cursor = serializers.CharField(
        source="before", max_length=100, required=False, help_text="The `next_cursor` of the page before."
    )

    def validate_q(self, value: str) -> str:
        if len(value.split()) > MAX_SEARCH_WORDS:
            raise serializers.ValidationError(f"May have at most {MAX_SEARCH_WORDS} words.")
        return value

    def validate_cursor(self, value: str) -> tuple[datetime, str]:
        before = parse_time_cursor(value, is_message_id)
        if before is None:
            raise serializers.ValidationError("Not a cursor.")
        return before


class ChangesQuery(serializers.Serializer[Any]):
    since = serializers.IntegerField(
        min_value=0,
        max_value=2**53,
        default=0,
        help_text="The `next_since` of the last call; 0, or absent, for all conversations.",
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=100, default=50, help_text="The maximum number of changes in the answer."
    )


class AttachmentQuery(serializers.Serializer[Any]):
    size = serializers.ChoiceField(
        choices=["full", "thumb"],
        default="full",
        help_text="`thumb` for a thumbnail of at most 256 pixels, `full` for the picture.",
    )


class ExportQuery(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=["json", "markdown"], default="json", help_text="The form of the file.")


class MessagesQuery(serializers.Serializer[Any]):
    limit = serializers.IntegerField(
        min_value=1, max_value=100, default=50, help_text="The maximum number of messages on the page."
    )
    skip = serializers.IntegerField(
        min_value=0, required=False, help_text="The number of messages to leave out at the start."
    )
    before = serializers.IntegerField(
        min_value=0, required=False, help_text="A seq; one beyond the newest message returns the newest page."
    )
    after = serializers.IntegerField(min_value=0, required=False, help_text="A seq.")
    latest = serializers.BooleanField(default=False, help_text="Whether to return the newest page.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("skip", "before", "after") if name in attrs] + ["latest"] * attrs["latest"]
        if len(given) > 1:
            raise serializers.ValidationError({given[1]: f"Cannot be combined with {given[0]}."})
        return attrs


class ConversationOutput(TypedDict):
    id: Annotated[str, "The conversation's id."]
    title: Annotated[str | None, "The title; null until it has one."]
    system_instruction: Annotated[str | None, "What the model is told before every message; null for nothing."]
    organization_id: Annotated[int | None, "The organization whose members can read it; null for a private one."]
    pinned: Annotated[bool, "Whether the user has pinned it."]
    archived: Annotated[bool, "Whether the user has archived it."]
    temporary: Annotated[bool, "Whether it is deleted after 24 hours."]
    message_count: Annotated[int, "The number of its messages, of the user and of the model."]
    last_seq: Annotated[int, "0 in an empty conversation."]
    created_at: Annotated[datetime, "When it was created."]
    updated_at: Annotated[datetime, "When it, or one of its messages, was last changed."]


class ConversationsOutput(TypedDict):
    conversations: Annotated[list[ConversationOutput], "The conversations of the page, the latest changed first."]
    has_more: Annotated[bool, "Whether there are more conversations after this page."]
    next_cursor: Annotated[str | None, "The `cursor` of the next page; null without one."]


class ChangesOutput(TypedDict):
    conversations: Annotated[
        list[ConversationOutput], "The conversations that were created or changed, in their current state."
    ]
    deleted: Annotated[list[str], "Ids; deletions are reported for 30 days."]
    next_since: Annotated[int, "The `since` of the next call."]
    has_more: Annotated[bool, "Whether there are more changes: call again at once."]


class MessageOutput(TypedDict):
    id: Annotated[str, "The message's id."]
    seq: Annotated[int, "From 1, without gaps."]
    role: Annotated[Role, "Who wrote the message."]
    content: Annotated[str, "The text so far, usually Markdown; of a running reply the part that is stored."]
    status: Annotated[Status, "The state of the message."]
    created_at: Annotated[datetime, "When the exchange began."]
    attachments: Annotated[list[AttachmentOutput], "The pictures that were sent with the message."]
    client_message_id: Annotated[str | None, "The key with which the client sent the message; null without one."]
    finish_reason: FinishReason
    usage: Annotated[
        TokenUsageOutput | None, "The tokens of the answer; null for a user's message and until the answer has ended."
    ]
    feedback: Annotated[FeedbackOutput | None, "The user's feedback; null without one."]
    variants: Annotated[
        list[VariantOutput],
        "The message's earlier contents, the latest last: at most 50, with 256 KB together; the oldest are dropped. A "
        "single one that is longer is cut, with `finish_reason` `MAX_TOKENS`.",
    ]


class ExchangeOutput(TypedDict):
    user_message: Annotated[MessageOutput, "The user's message, as stored."]
    model_message: Annotated[MessageOutput, "The model's answer, as stored."]


class RestartOutput(TypedDict):
    """Empty: the client discards the text received so far."""


REPLY_EVENTS = Events(
    "ReplyEvent",
    EVENT_FORM + "`id` says how far the client is, and is opaque. After a lost connection, GET "
    "`/chat/conversations/{conversation_id}/messages/{mid}/stream` with the last `id` as the header `Last-Event-ID` "
    "(`message_stream`) sends the rest: during the reply, after its end, and long after it. 204 means that the last "
    "event was already seen. An `id` of an earlier attempt gets `restart` and the whole text. `retry: 1000`, before "
    "the first event, is the time to wait before that call, in milliseconds.\n\n"
    "Closing the connection does not stop the reply: it is finished, stored and charged. Only `message_stop` stops it. "
    "A stream that ends without `done` or `error` was ended by a server that stops: resume it, and another process "
    "continues the reply. A fault before the first event is an ordinary error with its status. " + PING_MEANING,
    resumable=True,
    message=Annotated[
        ExchangeOutput,
        "Both messages, which are stored now; the model's is empty and `generating`. The first event of `send` and "
        "`regenerate`. The id of the model's message is needed to resume.",
    ],
    delta=DeltaEvent,
    restart=Annotated[RestartOutput, "The answer starts again, by another process: discard the text received so far."],
    done=Annotated[MessageOutput, "The model's message in its final state, whatever its `status`. The stream ends."],
    error=Annotated[
        Error,
        "The stream ends. With an `id`, the reply has failed without a text. Without one, the session or the access to "
        "the conversation has ended, or the conversation was deleted.",
    ],
)


class MessagesOutput(TypedDict):
    messages: Annotated[list[MessageOutput], "The messages of the page, the oldest first."]
    has_more: Annotated[bool, "Whether there are more messages in the requested direction."]


class TranscriptOutput(TypedDict):
    conversation: Annotated[ConversationOutput, "The conversation."]
    messages: Annotated[list[MessageOutput], "All its messages, the oldest first."]


def conversation_body(conversation: ListedConversation) -> ConversationOutput:
    return {
        "id": conversation["_id"],
        "title": conversation["title"],
        "system_instruction": conversation["system_instruction"],
        "organization_id": conversation["organization_id"],
        "pinned": conversation["pinned"],
        "archived": conversation["archived"],
        "temporary": conversation["temporary"],
        "message_count": conversation["message_count"],
        "last_seq": conversation["next_seq"] - 1,
        "created_at": conversation["created_at"],
        "updated_at": conversation["updated_at"],
    }


def message_body(message: ShownMessage) -> MessageOutput:
    return {
        "id": message["_id"],
        "seq": message["seq"],
        "role": message["role"],
        "content": message["content"],
        "status": message["status"],
        "created_at": message["created_at"],
        "attachments": message["attachments"],
        "client_message_id": message["client_message_id"],
        "finish_reason": message["finish_reason"],
        "usage": message["usage"],
        "feedback": message["feedback"],
        "variants": message["variants"],
    }


def exchange_body(exchange: Exchange) -> ExchangeOutput:
    return {"user_message": message_body(exchange.user_message), "model_message": message_body(exchange.model_message)}
