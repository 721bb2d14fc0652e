"""The admin of todos, which are ordinary rows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from accounts.staff.pages import OfUsersAdmin, RecordAdmin, StaffList
from accounts.staff.sessions import password_is_recent, require_recent_password
from conversations.models import Todo
from conversations.staff.readings import ReadingNotAudited, record_reading
from conversations.todos.services import USERS_TEXTS

UNREADABLE = "(found in a conversation)"


class TodoList(StaffList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: list[Todo] = list(self.result_list)
        self.model_admin.read(request, self.result_list)


@admin.register(Todo)
class TodoAdmin(OfUsersAdmin):
    """Staff read todos, and delete them for users, who cannot delete them.

    The text of a todo that was found in a conversation is part of that conversation. Reading it requires the permission
    to read transcripts.
    """

    list_display = ("id", "owner", "shown_title", "completed", "conversation_id", "created_at", "updated_at")
    list_select_related = ("owner",)
    list_filter = ("completed", "archived")
    ordering = ("-id",)
    search_fields = ("owner__email",)
    user_field = "owner_id"
    fields = (
        "owner",
        "shown_title",
        "shown_description",
        ("completed", "archived"),
        ("conversation_id", "message_id"),
        ("created_at", "updated_at"),
    )
    readonly_fields = ("shown_title", "shown_description", "created_at")
    texts_of_users = USERS_TEXTS

    @admin.display(description="title")
    def shown_title(self, todo: Todo) -> str:
        return todo.title if _is_readable(todo) else UNREADABLE

    @admin.display(description="description")
    def shown_description(self, todo: Todo) -> str:
        return (todo.description or "-") if _is_readable(todo) else UNREADABLE

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[StaffList]:
        return TodoList

    def before_reading(self, request: HttpRequest, rows: list[Todo]) -> None:
        self.read(request, rows)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Todo | None:
        todo: Todo | None = super().get_object(request, object_id, from_field)
        match = request.resolver_match
        if todo is not None and match is not None and match.url_name == "conversations_todo_change":
            if todo.conversation_id and request.user.has_perm("conversations.view_transcript"):
                require_recent_password(request)
            self.read(request, [todo])
        return todo

    def read(self, request: HttpRequest, todos: list[Todo]) -> None:
        """Let a page show the texts of todos that were found in conversations, if the user may read transcripts.

        A list shows them only while the password is recent; the page of a single todo asks for the password. One audit
        row for each owner is written first.
        """
        may_read = request.user.has_perm("conversations.view_transcript") and password_is_recent(request)
        if request.method != "GET" or not may_read:
            return
        found: dict[int, list[Todo]] = {}
        for todo in todos:
            if todo.conversation_id:
                found.setdefault(todo.owner_id, []).append(todo)
        try:
            for owner_id, theirs in found.items():
                record_reading(request, owner_id, todos=[todo.pk for todo in theirs])
                for todo in theirs:
                    todo.was_audited = True  # type: ignore[attr-defined]
        except ReadingNotAudited:
            text = "This reading could not be written to the audit log, so no text of a conversation is shown."
            self.message_user(request, text, messages.ERROR)

    has_add_permission = RecordAdmin.has_add_permission
    has_change_permission = RecordAdmin.has_change_permission


def _is_readable(todo: Todo) -> bool:
    return not todo.conversation_id or getattr(todo, "was_audited", False)
