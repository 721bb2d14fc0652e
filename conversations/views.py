"""The calls for conversations."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from conversations.cursors import change_cursor, time_cursor
from conversations.queries import ConversationNotFound, get_readable_conversation, list_conversations, reading_of
from conversations.serializers import (
    ChangesOutput,
    ChangesQuery,
    ConversationChange,
    ConversationInput,
    ConversationOutput,
    ConversationsOutput,
    ConversationsQuery,
    ExportQuery,
    SearchQuery,
    TranscriptOutput,
    conversation_body,
)
from conversations.services import (
    TooManyConversations,
    create_conversation,
    delete_conversation,
    update_conversation,
)
from conversations.sync.changes import changes_since
from conversations.sync.export import export_json, export_markdown
from conversations.sync.search import SearchOutput, search_messages
from edgechat.errors import NotFound, PermissionDenied
from edgechat.http.answer_bytes import page_of
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.idempotency import IDEMPOTENCY_KEY, IdempotencyConflict, idempotency_key
from edgechat.http.validation import validated_body, validated_query
from edgechat.openapi.notes import extend_schema, raises, sends

FORMATS = {
    "json": (export_json, "application/json", "json"),
    "markdown": (export_markdown, "text/markdown; charset=utf-8", "md"),
}


MARKDOWN = "# Leases\n\n## User, 2026-03-01 09:30 UTC\n\nWhat is a lease?\n"


class ConversationsView(APIView):
    @extend_schema(
        operation_id="conversation_create",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY],
        request=ConversationInput,
    )
    @raises(NotFound, IdempotencyConflict, TooManyConversations)
    def post(self, request: AuthenticatedRequest) -> Created[ConversationOutput]:
        """Create a conversation.

        The body may be absent. A temporary conversation is deleted after 24 hours, and can only be accessed by its id:
        lists, search and changes do not include it. An account that has reached the limit gets 409
        `too_many_conversations`.
        """
        data = validated_body(ConversationInput, request)
        conversation = create_conversation(owner_id=request.user.pk, **data, idempotency_key=idempotency_key(request))
        return Created(conversation_body(conversation))

    @extend_schema(
        operation_id="conversation_list",
        tags=["chat"],
        parameters=[ConversationsQuery],
    )
    @raises(NotFound)
    def get(self, request: AuthenticatedRequest) -> Answer[ConversationsOutput]:
        """List the user's conversations.

        The latest changed come first; with `organization_id`, those of all its members. A page ends early at 1 MB, with
        `has_more`.
        """
        query = validated_query(ConversationsQuery, request)
        limit = query.pop("limit")
        found = list_conversations(user_id=request.user.pk, limit=limit + 1, **query)
        page, cut = page_of(conversation_body(each) for each in found[:limit])
        has_more = cut or len(found) > limit
        next_cursor = None
        if has_more:
            last = found[len(page) - 1]
            # Each owner has separate change numbers, so a list of several owners is ordered by time.
            shared = "organization_id" in query
            next_cursor = time_cursor(last["updated_at"], last["_id"]) if shared else change_cursor(last)
        return Answer(ConversationsOutput(conversations=page, has_more=has_more, next_cursor=next_cursor))


class ConversationView(APIView):
    @extend_schema(operation_id="conversation_get", tags=["chat"])
    @raises(ConversationNotFound)
    def get(self, request: AuthenticatedRequest, conversation_id: str) -> Answer[ConversationOutput]:
        """Get one conversation.

        The answer is without its messages, which `message_list` has.
        """
        conversation = get_readable_conversation(user_id=request.user.pk, conversation_id=conversation_id)
        return Answer(conversation_body(conversation))

    @extend_schema(
        operation_id="conversation_update",
        tags=["chat"],
        request=ConversationChange,
    )
    @raises(ConversationNotFound, PermissionDenied)
    def patch(self, request: AuthenticatedRequest, conversation_id: str) -> Answer[ConversationOutput]:
        """Change a conversation.

        The title, the pin, the archive flag and the system instruction can be changed. Fields that are not given stay
        the same.
        """
        changes = validated_body(ConversationChange, request)
        conversation = update_conversation(owner_id=request.user.pk, conversation_id=conversation_id, changes=changes)
        return Answer(conversation_body(conversation))

    @extend_schema(operation_id="conversation_delete", tags=["chat"])
    @raises(ConversationNotFound, PermissionDenied)
    def delete(self, request: AuthenticatedRequest, conversation_id: str) -> NoContent:
        """Delete a conversation.

        Its messages are deleted with it, also a reply that is being written. Only its author can do this.
        """
        delete_conversation(owner_id=request.user.pk, conversation_id=conversation_id)
        return NoContent()


class ExportView(APIView):
    @extend_schema(
        operation_id="conversation_export",
        tags=["chat"],
        parameters=[ExportQuery],
        responses={(200, "application/json"): TranscriptOutput, (200, "text/markdown"): OpenApiTypes.STR},
        examples=[OpenApiExample("Markdown", value=MARKDOWN, response_only=True, media_type="text/markdown")],
    )
    @sends("Content-Disposition")
    @raises(ConversationNotFound)
    def get(self, request: AuthenticatedRequest, conversation_id: str) -> StreamingHttpResponse:
        """Download a conversation as a file.

        The file is the whole transcript: `{"conversation": C, "messages": [M]}`, or Markdown.
        """
        query = validated_query(ExportQuery, request)
        with open_call(request) as call:
            conversation = get_readable_conversation(user_id=request.user.pk, conversation_id=conversation_id)
            call.reads(reading_of(conversation, user_id=request.user.pk))
            export, content_type, extension = FORMATS[query["format"]]
            headers = {"Content-Disposition": f'attachment; filename="{conversation_id}.{extension}"'}
            return StreamingHttpResponse(call.body(export(conversation)), content_type=content_type, headers=headers)


class SearchView(APIView):
    @extend_schema(operation_id="chat_search", tags=["chat"], parameters=[SearchQuery])
    def get(self, request: AuthenticatedRequest) -> Answer[SearchOutput]:
        """Search the user's messages.

        The results contain every word of `q`, in any case; the newest come first.
        """
        return Answer(search_messages(owner_id=request.user.pk, **validated_query(SearchQuery, request)))


class ChangesView(APIView):
    @extend_schema(operation_id="chat_changes", tags=["chat"], parameters=[ChangesQuery])
    def get(self, request: AuthenticatedRequest) -> Answer[ChangesOutput]:
        """Get what was changed on other devices.

        These are the changes since `next_since` of an earlier call; 0, or no value, returns all. An answer ends early
        at 1 MB, with `has_more`.
        """
        return Answer(changes_since(owner_id=request.user.pk, **validated_query(ChangesQuery, request)))
