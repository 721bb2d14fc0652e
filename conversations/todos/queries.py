"""Reads of a user's todos."""

from __future__ import annotations

from conversations.models import Todo
from edgechat.errors import NotFound


class TodoNotFound(NotFound):
    detail = "Todo not found"


def list_todos(*, owner_id: int, archived: bool = False, after: int = 0) -> list[Todo]:
    """The owner's archived todos, or the others, with ids above `after`; the oldest first."""
    return list(Todo.objects.filter(owner_id=owner_id, archived=archived, pk__gt=after))


def get_todo(*, owner_id: int, todo_id: int) -> Todo:
    """The owner's todo. Raises TodoNotFound for an absent todo and another user's todo alike."""
    todo = Todo.objects.filter(pk=todo_id, owner_id=owner_id).first()
    if todo is None:
        raise TodoNotFound
    return todo
