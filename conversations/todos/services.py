"""A user's todos: written by the user, or found in a conversation (conversations.todos.action_items)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict

from django.db import transaction
from django.db.models import Count, Func, IntegerField, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.audit import record_event
from accounts.models import AuditEvent, User
from accounts.open_calls.live_accounts import lock_account
from accounts.staff.audit import values_of
from conversations.models import Todo
from conversations.sync.search_text import fold
from conversations.todos.queries import TodoNotFound, get_todo
from edgechat.errors import ApiError, PermissionDenied
from edgechat.http.answer_bytes import take_page, text_bytes
from edgechat.http.bodies import Keywords
from edgechat.http.client_address import Caller

# The older API has no pages of todos, and users cannot delete todos, so these limits bound the list. They are far
# beyond practical use. The bytes are those of the response body: TODO_BYTES at most for each todo, plus its texts.
MAX_TODOS = 5000
MAX_LIST_BYTES = 1_900_000
TODO_BYTES = 330
TOO_LONG = "The todos of an account can have 1.9 MB together"
MAX_TITLE_CHARACTERS = 255
MAX_DESCRIPTION_CHARACTERS = 1000
# Texts of users, which are not kept in the audit log.
USERS_TEXTS = frozenset({"title", "description"})


class AdminsOnly(PermissionDenied):
    detail = "Access denied. Required role: ['admin']"


class TodoLimit(TypedDict):
    limit: NotRequired[Annotated[int, "How many todos an account can have.", Keywords(example=MAX_TODOS)]]
    limit_bytes: NotRequired[Annotated[int, "How many bytes they can have together."]]


class TooManyTodos(ApiError):
    status, code, detail = 409, "too_many_todos", f"An account can have {MAX_TODOS} todos"
    context_body = TodoLimit


@dataclass(frozen=True)
class FoundTask:
    """A task in a conversation; `message_id` is None if the model named no known message."""

    title: str
    description: str | None
    message_id: str | None

    @property
    def found_hash(self) -> str:
        """Equal for titles that differ only in letter case, Unicode form and white space."""
        return hashlib.sha256(" ".join(fold(self.title).split()).encode()).hexdigest()


@dataclass(frozen=True)
class Room:
    """The number of todos that an account can still add, and their bytes in the list."""

    todos: int
    bytes: int

    def refuse(self, more_bytes: int, *, more: int = 0) -> None:
        """Raise TooManyTodos if the room is exceeded."""
        if more > self.todos:
            raise TooManyTodos(context=TodoLimit(limit=MAX_TODOS))
        if more_bytes > self.bytes:
            raise TooManyTodos(TOO_LONG, context=TodoLimit(limit_bytes=MAX_LIST_BYTES))


def create_todo(*, owner_id: int, title: str, description: str | None = None) -> Todo:
    """Create a todo. Raises TooManyTodos."""
    with transaction.atomic():
        _lock_room(owner_id).refuse(_bytes(title, description), more=1)
        return Todo.objects.create(owner_id=owner_id, title=title, description=description)


def update_todo(*, owner_id: int, todo_id: int, changes: dict[str, Any]) -> Todo:
    """Change title, description, completed or archived. Without an actual change, `updated_at` stays the same.

    Raises TodoNotFound and TooManyTodos.
    """
    todo = get_todo(owner_id=owner_id, todo_id=todo_id)
    changes = {name: value for name, value in changes.items() if getattr(todo, name) != value}
    if not changes:
        return todo
    with transaction.atomic():
        if "title" in changes or "description" in changes:
            room = _lock_room(owner_id)
            todo = get_todo(owner_id=owner_id, todo_id=todo_id)
            changed = _bytes(changes.get("title", todo.title), changes.get("description", todo.description))
            grown = changed - _bytes(todo.title, todo.description)
            if grown > 0:
                room.refuse(grown)
        Todo.objects.filter(pk=todo_id, owner_id=owner_id).update(**changes, updated_at=timezone.now())
        return get_todo(owner_id=owner_id, todo_id=todo_id)


def delete_todo(*, user: User, todo_id: int, caller: Caller) -> None:
    """Delete any user's todo, for the role `admin`. A row of the audit log names its owner.

    Raises AdminsOnly for all other roles, and TodoNotFound.
    """
    if user.role != "admin":
        raise AdminsOnly
    with transaction.atomic():
        todo = Todo.objects.select_for_update().filter(pk=todo_id).first()
        if todo is None:
            raise TodoNotFound
        record_event(
            AuditEvent.Event.STAFF_CHANGE,
            caller=caller,
            user_id=todo.owner_id,
            actor_id=user.pk,
            model=todo._meta.label_lower,
            id=str(todo.pk),
            before=values_of(todo, but=USERS_TEXTS),
            after=None,
        )
        todo.delete()


def refuse_without_room(*, owner_id: int) -> None:
    """Raise TooManyTodos if there is no room for a todo, before a call to the model costs tokens."""
    _room(owner_id).refuse(_bytes("", None), more=1)


def file_tasks(*, owner_id: int, conversation_id: str, tasks: Iterable[FoundTask]) -> list[Todo]:
    """The todos of tasks found in a conversation, each once, in the order of the tasks.

    A task that was stored before is returned as its existing todo, even if the owner has renamed it. New tasks for
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
        fitting, _ = take_page(
            new[: max(0, room.todos)], lambda todo: _bytes(todo.title, todo.description), limit=room.bytes, least=0
        )
        for todo in Todo.objects.bulk_create(fitting):
            todos[todo.found_hash] = todo
    return [todos[found_hash] for found_hash in wanted if found_hash in todos]


def _lock_room(owner_id: int) -> Room:
    """The room of the account, locked until the transaction ends: no other thread can add a todo.

    Raises NotAuthenticated if the account was deleted meanwhile.
    """
    lock_account(owner_id)
    return _room(owner_id)


def _room(owner_id: int) -> Room:
    texts = Coalesce(_JsonBytes("title"), 0) + Coalesce(_JsonBytes("description"), 0)
    had = Todo.objects.filter(owner_id=owner_id).aggregate(number=Count("id"), bytes=Sum(texts, default=0))
    return Room(MAX_TODOS - had["number"], MAX_LIST_BYTES - had["bytes"] - TODO_BYTES * had["number"])


def _bytes(title: str, description: str | None) -> int:
    """The bytes of a todo in the list."""
    return TODO_BYTES + text_bytes(title) + text_bytes(description or "")


class _JsonBytes(Func):
    """`text_bytes` plus two quotes, computed by PostgreSQL."""

    template = "octet_length(regexp_replace(to_json(%(expressions)s)::text, '[\\u0085\\u2028\\u2029]', '......', 'g'))"
    output_field = IntegerField()
