"""Input and output of the todo calls."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from conversations.models import Todo
from conversations.todos import MAX_DESCRIPTION_CHARACTERS, MAX_TITLE_CHARACTERS


class TodoInput(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS)
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION_CHARACTERS, required=False, allow_null=True, allow_blank=True, default=None
    )


class TodoChange(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS, required=False)
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION_CHARACTERS, required=False, allow_null=True, allow_blank=True
    )
    completed = serializers.BooleanField(required=False)
    archived = serializers.BooleanField(required=False)


class TodosQuery(serializers.Serializer[Any]):
    archived = serializers.BooleanField(default=False)
    after = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, default=0, help_text="The id of the last todo of the answer before."
    )


class TodoOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    title = serializers.CharField()
    description = serializers.CharField(allow_null=True)
    completed = serializers.BooleanField()
    archived = serializers.BooleanField(help_text="Put away: lists leave it out, but for `archived=true`.")
    user_id = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(allow_null=True, help_text="Null until changed.")
    conversation_id = serializers.CharField(allow_null=True, help_text="Where it was found, also if deleted since.")
    message_id = serializers.CharField(allow_null=True, help_text="The message that names it.")


def todo_body(todo: Todo) -> dict[str, Any]:
    return {
        "id": todo.pk,
        "title": todo.title,
        "description": todo.description,
        "completed": todo.completed,
        "archived": todo.archived,
        "user_id": todo.owner_id,
        "created_at": todo.created_at,
        "updated_at": todo.updated_at,
        "conversation_id": todo.conversation_id or None,
        "message_id": todo.message_id or None,
    }
