"""Input and output of the todo calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict

from rest_framework import serializers

from conversations.models import Todo
from conversations.todos.services import MAX_DESCRIPTION_CHARACTERS, MAX_TITLE_CHARACTERS


class TodoInput(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=MAX_TITLE_CHARACTERS, help_text="What is to be done: 1 to 255 characters.")
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION_CHARACTERS,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="More about it: up to 1,000 characters; null or empty for nothing.",
    )


class TodoChange(serializers.Serializer[Any]):
    title = serializers.CharField(
        max_length=MAX_TITLE_CHARACTERS, required=False, help_text="What is to be done: 1 to 255 characters."
    )
    description = serializers.CharField(
        max_length=MAX_DESCRIPTION_CHARACTERS,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="More about it: up to 1,000 characters; null or empty for nothing.",
    )
    completed = serializers.BooleanField(required=False, help_text="Whether it is done.")
    archived = serializers.BooleanField(required=False, help_text="Whether it is put away: lists leave it out.")


class TodosQuery(serializers.Serializer[Any]):
    archived = serializers.BooleanField(
        default=False, help_text="Whether to list the archived todos instead of the others."
    )
    after = serializers.IntegerField(
        min_value=0, max_value=2**63 - 1, default=0, help_text="The id of the last todo of the page before."
    )


class TodoOutput(TypedDict):
    id: Annotated[int, "The todo's id."]
    title: Annotated[str, "What is to be done."]
    description: Annotated[str | None, "More about it; null without one."]
    completed: Annotated[bool, "Whether it is done."]
    archived: Annotated[bool, "Only lists with `archived=true` include it."]
    user_id: Annotated[int, "The id of its owner."]
    created_at: Annotated[datetime, "When it was created."]
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
