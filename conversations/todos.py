"""A user's todos: written by the user, or found in a conversation (conversations.action_items)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from conversations.models import Todo
from edgechat.errors import ApiError, NotAuthenticated, NotFound, PermissionDenied

# The list has no pages in the older API, and users cannot delete todos: this bounds both, far beyond what is of use.
MAX_TODOS = 5000
MAX_TITLE_CHARACTERS = 255
MAX_DESCRIPTION_CHARACTERS = 1000


class TodoNotFound(NotFound):
    detail = "Todo not found"


class AdminsOnly(PermissionDenied):
    detail = "Access denied. Required role: ['admin']"


class TooManyTodos(ApiError):
    status, code, detail = 409, "too_many_todos", f"An account can have {MAX_TODOS} todos"

    def __init__(self) -> None:
        super().__init__(context={"limit": MAX_TODOS})


@dataclass(frozen=True)
class FoundTask:
    """A task in a conversation; `message_id` is None where the model did not say in which message."""

    title: str
    description: str | None
    message_id: str | None

    @property
    def found_hash(self) -> str:
        """The same for titles that differ in letter case and white space only."""
        return hashlib.sha256(" ".join(self.title.casefold().split()).encode()).hexdigest()


def list_todos(*, owner_id: int) -> list[Todo]:
    return list(Todo.objects.filter(owner_id=owner_id))


def get_todo(*, owner_id: int, todo_id: int) -> Todo:
    """The owner's todo; TodoNotFound for absent and foreign ones alike."""
    todo = Todo.objects.filter(pk=todo_id, owner_id=owner_id).first()
    if todo is None:
        raise TodoNotFound
    return todo


def create_todo(*, owner_id: int, title: str, description: str | None = None) -> Todo:
    """Raises TooManyTodos."""
    with transaction.atomic():
        if _lock_room(owner_id) <= 0:
            raise TooManyTodos
        return Todo.objects.create(owner_id=owner_id, title=title, description=description)


def update_todo(*, owner_id: int, todo_id: int, changes: dict[str, Any]) -> Todo:
    """Change title, description or completed; what is as it was leaves `updated_at` as it was. Raises TodoNotFound."""
    todo = get_todo(owner_id=owner_id, todo_id=todo_id)
    changes = {name: value for name, value in changes.items() if getattr(todo, name) != value}
    if not changes:
        return todo
    Todo.objects.filter(pk=todo_id, owner_id=owner_id).update(**changes, updated_at=timezone.now())
    return get_todo(owner_id=owner_id, todo_id=todo_id)


def delete_todo(*, user: User, todo_id: int) -> None:
    """Delete one of the user's own todos. Raises AdminsOnly for all other roles, and TodoNotFound."""
    if user.role != "admin":
        raise AdminsOnly
    deleted, _ = Todo.objects.filter(pk=todo_id, owner_id=user.pk).delete()
    if not deleted:
        raise TodoNotFound


def refuse_without_room(*, owner_id: int) -> None:
    """Raises TooManyTodos if the user can have no more: looked up before a call to the model is paid for."""
    if _room(owner_id) <= 0:
        raise TooManyTodos


def file_tasks(*, owner_id: int, conversation_id: str, tasks: Iterable[FoundTask]) -> list[Todo]:
    """The todos of tasks found in a conversation, each once, in the order of the tasks.

    A task that was filed before is that todo, as its owner has left it: also when it was renamed since. New ones for
    which the account has no room are left out.
    """
    wanted: dict[str, FoundTask] = {}
    for task in tasks:
        wanted.setdefault(task.found_hash, task)
    with transaction.atomic():
        room = _lock_room(owner_id)
        earlier = Todo.objects.filter(owner_id=owner_id, conversation_id=conversation_id, found_hash__in=wanted)
        todos = {todo.found_hash: todo for todo in earlier}
        new = [
            Todo(
                owner_id=owner_id,
                title=task.title,
                description=task.description,
                conversation_id=conversation_id,
                message_id=task.message_id or "",
                found_hash=found_hash,
            )
            for found_hash, task in wanted.items()
            if found_hash not in todos
        ]
        for todo in Todo.objects.bulk_create(new[: max(0, room)]):
            todos[todo.found_hash] = todo
    return [todos[found_hash] for found_hash in wanted if found_hash in todos]


def _lock_room(owner_id: int) -> int:
    """How many more todos a user may have; nobody else adds one before the transaction ends.

    Raises NotAuthenticated if the account was deleted meanwhile, as by then its tokens are worth nothing.
    """
    owner = User.objects.select_for_update(no_key=True).filter(pk=owner_id)
    if owner.values_list("pk", flat=True).first() is None:
        raise NotAuthenticated
    return _room(owner_id)


def _room(owner_id: int) -> int:
    return MAX_TODOS - Todo.objects.filter(owner_id=owner_id).count()
