"""Input and output of the todo calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict

from rest_framework import serializers

from conversations.models import Todo
from conversations.todos.services import MAX_DESCRIPTION_CHARACTERS, MAX_TITLE_CHARACTERS


class TodoInput(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS)
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION_CHARACTERS, allow_null=True, allow_blank=True, default=None
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
        min_value=0, max_value=2**63 - 1, default=0, help_text="The id of the last todo of the page before."
    )


class TodoOutput(TypedDict):
    id: int
    title: str
    description: str | None
    completed: bool
    archived: Annotated[bool, "Only lists with `archived=true` include it."]
    user_id: int
    created_at: datetime
    updated_at: Annotated[datetime | None, "Null until changed."]
    conversation_id: Annotated[str | None, "The conversation in which it was found, even if that is deleted."]
    message_id: Annotated[str | None, "The message that names it."]


def todo_body(todo: Todo) -> TodoOutput:
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
