"""Conversations for staff: their metadata, and, with a separate permission, their transcripts.

Conversations are in MongoDB, so this module has its own pages. They write nothing except the audit row of a reading.
Todos are ordinary rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, cast

import django.db
import structlog
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import yesno
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import escape, format_html
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from accounts.audit import record_event
from accounts.models import AuditEvent, User
from accounts.staff.csv_files import ROWS_PER_BATCH, csv_response
from accounts.staff.filters import is_id
from accounts.staff.pages import OfUsersAdmin, RecordAdmin, StaffList, users_matching
from accounts.staff.sessions import password_is_recent, require_recent_password
from accounts.staff.site import StaffSite, show_way
from conversations import transcript_repository as transcripts
from conversations.documents import is_conversation_id
from conversations.messages.pages import message_page
from conversations.models import Conversation, Todo
from conversations.staff.quality_page import HEADERS as QUALITY_HEADERS
from conversations.staff.quality_page import counted as quality_counts
from conversations.staff.quality_page import csv_rows, read_page
from conversations.todos.services import USERS_TEXTS
from conversations.transcript_repository import ConversationMetadata, ReplyMetadata
from edgechat.http.answer_bytes import take_page
from edgechat.http.client_address import caller_of
from edgechat.stores.mongo import MongoUnavailable
from usage.staff.people_admin import COUNTS_OF_USERS

logger = structlog.get_logger(__name__)

COUNTS_OF_USERS.append(quality_counts)

CONVERSATIONS_A_PAGE = 50
MESSAGES_A_PAGE = 50
OWNERS_TO_CHOOSE = 20

UNREADABLE = "(found in a conversation)"

HEADERS = ["Conversation", "Owner", "Messages", "Last change", "State", "Running reply"]


class ReadingNotAudited(Exception):
    """The audit row of a reading could not be written, so nothing is shown."""


@admin.register(Conversation)
class ConversationAdmin(RecordAdmin):
    def get_urls(self) -> list[URLPattern]:
        """Only these pages, under the URL names that the admin's links use."""
        pages: dict[str, tuple[str, Callable[..., HttpResponseBase]]] = {
            "changelist": ("", self.list_page),
            "csv": ("export.csv", self.csv_page),
            "quality": ("quality/", self.quality_page),
            "quality_csv": ("quality.csv", self.quality_csv),
            "change": ("<str:conversation_id>/", self.metadata_page),
            "transcript": ("<str:conversation_id>/transcript/", self.transcript_page),
        }
        return [
            path(route, self.admin_site.admin_view(self._page(view)), name=f"conversations_conversation_{name}")
            for name, (route, view) in pages.items()
        ]

    def _page(self, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        """A view for staff who may see conversations."""

        @require_GET
        def page(request: HttpRequest, **kwargs: str) -> HttpResponseBase:
            request.current_app = self.admin_site.name
            if not self.has_view_permission(request):
                raise PermissionDenied
            try:
                return view(request, **kwargs)
            except MongoUnavailable:
                text = "MongoDB, where conversations are kept, does not answer. Please try again in a moment."
                return cast(StaffSite, self.admin_site).refusal(request, 503, "Conversations are not available", text)
            except ReadingNotAudited:
                text = "This reading could not be written to the audit log, so nothing is shown. Please try again."
                return cast(StaffSite, self.admin_site).refusal(request, 503, "The audit log is not available", text)

        return page

    def has_transcript_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("conversations.view_transcript")

    def list_page(self, request: HttpRequest) -> HttpResponse:
        """The results of a search, the latest changed first; without a search term, the running replies."""
        term, before = request.GET.get("q", "").strip(), request.GET.get("before", "")
        if before and not is_id(before):
            raise Http404
        title, found, owners = self._search(term, int(before) if before else None, limit=CONVERSATIONS_A_PAGE + 1)
        shown, has_more = found[:CONVERSATIONS_A_PAGE], len(found) > CONVERSATIONS_A_PAGE
        emails = _emails([conversation["owner_id"] for conversation in shown])
        return self._render(
            request,
            "staff_list",
            title=title,
            term=term,
            table={"headers": HEADERS, "rows": [self._row(request, one, emails) for one in shown]},
            has_more=has_more,
            older=urlencode({"q": term, "before": str(shown[-1]["change"])}) if term and has_more else None,
            newest=urlencode({"q": term}) if before else None,
            csv=urlencode({"q": term}) if term else "",
            owners=[(email, urlencode({"q": owner_id})) for owner_id, email in owners],
        )

    def csv_page(self, request: HttpRequest) -> HttpResponseBase:
        """The conversations that the list finds, without its pages."""
        require_recent_password(request)
        term = request.GET.get("q", "").strip()

        # Read before the answer starts, so that a store that does not answer is told on a page.
        first = self._search(term, None, limit=ROWS_PER_BATCH)[1]

        def batches() -> Iterator[list[list[Any]]]:
            found = first
            while found:
                emails = _emails([conversation["owner_id"] for conversation in found])
                yield [self._row(request, conversation, emails) for conversation in found]
                if len(found) < ROWS_PER_BATCH or not term:
                    return
                found = self._search(term, found[-1]["change"], limit=ROWS_PER_BATCH)[1]

        return csv_response(request, "conversation", HEADERS, batches)

    def _search(
        self, term: str, before: int | None, *, limit: int
    ) -> tuple[str, list[ConversationMetadata], list[tuple[int, str]]]:
        """A heading, the conversations of one owner or id, or of running replies, and the ids and addresses of several
        owners whose address contains the term.

        Only one owner is searched, because change numbers, and their index, order the conversations of one owner.
        """
        if not term:
            return "Replies being written", sorted(transcripts.list_running(limit=limit), key=_started_at), []
        if is_conversation_id(term):
            conversation = transcripts.find_metadata(term)
            if conversation is not None:
                return "1 conversation", [conversation], []
        elif (owner_id := _owner_id(term)) is not None:
            found = transcripts.list_metadata(owner_id, limit=limit, before=before)
            email = _emails([owner_id]).get(owner_id)
            if found or email is not None:
                return f"Conversations of {email or _deleted(owner_id)}", found, []
        elif "\x00" not in term:
            owners = _emails(users_matching(term)[: OWNERS_TO_CHOOSE + 1])
            if len(owners) == 1:
                return self._search(str(*owners), before, limit=limit)
            if owners:
                first = sorted(owners.items(), key=itemgetter(1))[:OWNERS_TO_CHOOSE]
                more = f"More than {len(first)}" if len(owners) > len(first) else str(len(first))
                return f"{more} users with “{term}” in their address: choose one", [], first
        return f"Nothing found for “{term}”", [], []

    def metadata_page(self, request: HttpRequest, conversation_id: str) -> HttpResponse:
        conversation = _metadata(conversation_id)
        owner_id, reply = conversation["owner_id"], conversation["reply"]
        facts: dict[str, Any] = {
            "Id": conversation_id,
            "Owner": _owner_link(request, owner_id, _emails([owner_id])),
            "Organization": conversation["organization_id"] or "-",
            "Messages": conversation["message_count"],
            "Created": _time(conversation["created_at"]),
            "Last change": _time(conversation["updated_at"]),
            "Archived": yesno(conversation["archived"]),
            "Pinned": yesno(conversation["pinned"]),
            "Temporary": f"until {_time(conversation['expires_at'])}" if conversation["expires_at"] else "no",
        }
        if reply is None:
            facts["Running reply"] = "none"
        else:
            facts |= {
                "Running reply": reply["message_id"],
                "Started": _time(reply["started_at"]),
                "Written by": reply["worker"],
                "Attempt": reply["attempt"],
                "To be stopped": yesno(reply["stop_requested"]),
            }
        return self._render(
            request,
            "staff_conversation",
            title=f"Conversation {conversation_id}",
            original=Conversation(conversation_id),
            conversation_id=conversation_id,
            table={"rows": list(facts.items())},
            may_read=self.has_transcript_permission(request),
        )

    def transcript_page(self, request: HttpRequest, conversation_id: str) -> HttpResponse:
        """A page of the transcript. It is shown only after the reading is in the audit log."""
        if not self.has_transcript_permission(request):
            raise PermissionDenied
        require_recent_password(request)
        metadata = _metadata(conversation_id)
        owner_id, last_seq = metadata["owner_id"], metadata["next_seq"] - 1
        given = request.GET.get("after", "0")
        if not is_id(given) or int(given) > max(0, last_seq - 1):
            raise Http404
        page = message_page(last_seq, limit=MESSAGES_A_PAGE, after=int(given))
        conversation = transcripts.find_conversation(owner_id, conversation_id)
        if conversation is None:
            raise Http404
        stored = transcripts.read_messages(owner_id, conversation_id, page.seqs)
        shown, cut = take_page(stored, lambda message: len(escape(message["content"]).encode()))
        upto_seq = shown[-1]["seq"] if cut else page.seqs.stop - 1
        # In an empty conversation, these are 1 and 0.
        read = {"first_seq": page.seqs.start, "last_seq": upto_seq, "organization_id": metadata["organization_id"]}
        _record_reading(request, owner_id, conversation=conversation_id, **read)
        return self._render(
            request,
            "staff_transcript",
            title=f"Transcript of {conversation_id}",
            original=Conversation(conversation_id),
            conversation=conversation,
            conversation_id=conversation_id,
            owner=_owner_link(request, owner_id, _emails([owner_id])),
            # The name `messages` is taken: every admin page shows these at its top.
            page_messages=shown,
            first_seq=page.seqs.start,
            upto_seq=upto_seq,
            last_seq=last_seq,
            earlier=max(0, page.seqs.start - 1 - MESSAGES_A_PAGE) if page.seqs.start > 1 else None,
            later=upto_seq if page.has_more or cut else None,
        )

    def quality_page(self, request: HttpRequest) -> HttpResponse:
        def record(owner_id: int, message_ids: list[str]) -> None:
            _record_reading(request, owner_id, messages=message_ids)

        may_read, owners = self.has_transcript_permission(request), partial(_owner_links, request)
        page = read_page(request, may_read=may_read, record=record, owners=owners)
        show_way(request, ("Chat", reverse("admin:app_list", args=["conversations"])), ("Quality of replies", ""))
        return self._render(request, "staff_quality", **page)

    def quality_csv(self, request: HttpRequest) -> HttpResponseBase:
        require_recent_password(request)
        rows = list(csv_rows(request, partial(_owner_links, request)))  # before the answer starts, as above
        return csv_response(request, "quality", QUALITY_HEADERS, lambda: iter([rows]))

    def _row(self, request: HttpRequest, conversation: ConversationMetadata, emails: dict[int, str]) -> list[Any]:
        link = reverse("admin:conversations_conversation_change", args=[conversation["_id"]])
        states = [name for name in ("pinned", "archived", "temporary") if conversation[name]]
        reply = conversation["reply"]
        return [
            format_html('<a class="text-link font-semibold" href="{}">{}</a>', link, conversation["_id"]),
            _owner_link(request, conversation["owner_id"], emails),
            conversation["message_count"],
            _time(conversation["updated_at"]),
            ", ".join(states) or "-",
            _running(reply) if reply else "-",
        ]

    def _render(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        shown = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"conversations/{template}.html", shown)


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
                _record_reading(request, owner_id, todos=[todo.pk for todo in theirs])
                for todo in theirs:
                    todo.was_audited = True  # type: ignore[attr-defined]
        except ReadingNotAudited:
            text = "This reading could not be written to the audit log, so no text of a conversation is shown."
            self.message_user(request, text, messages.ERROR)

    has_add_permission = RecordAdmin.has_add_permission
    has_change_permission = RecordAdmin.has_change_permission


def _metadata(conversation_id: str) -> ConversationMetadata:
    conversation = transcripts.find_metadata(conversation_id) if is_conversation_id(conversation_id) else None
    if conversation is None:
        raise Http404
    return conversation


def _is_readable(todo: Todo) -> bool:
    return not todo.conversation_id or getattr(todo, "was_audited", False)


def _record_reading(request: HttpRequest, owner_id: int, **details: Any) -> None:
    """Write the audit row. Raises ReadingNotAudited."""
    try:
        record_event(
            AuditEvent.Event.TRANSCRIPT_READ,
            caller=caller_of(request),
            user_id=owner_id,
            actor_id=request.user.pk,
            **details,
        )
    except django.db.Error as error:
        logger.error("reading_not_audited", exc_info=error)
        raise ReadingNotAudited from error


def _owner_id(term: str) -> int | None:
    """The user with this id, perhaps deleted, or with this e-mail in any letter case; None if there is no such user."""
    if is_id(term):
        return int(term)
    # PostgreSQL does not accept NUL.
    user = None if "\x00" in term else User.objects.with_email(term)
    return None if user is None else user.pk


def _emails(user_ids: list[int]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=set(user_ids)).values_list("pk", "email"))


def _owner_link(request: HttpRequest, owner_id: int, emails: dict[int, str]) -> str:
    """The owner's e-mail, linked for staff who may see users."""
    email = emails.get(owner_id)
    if email is None:
        return _deleted(owner_id)
    if not any(request.user.has_perm(f"accounts.{action}_user") for action in ("view", "change")):
        return format_html('<span class="break-anywhere">{}</span>', email)
    url = reverse("admin:accounts_user_change", args=[owner_id])
    return format_html('<a class="break-anywhere text-link" href="{}">{}</a>', url, email)


def _owner_links(request: HttpRequest, owner_ids: set[int]) -> dict[int, str]:
    emails = _emails(list(owner_ids))
    return {owner_id: _owner_link(request, owner_id, emails) for owner_id in owner_ids}


def _deleted(owner_id: int) -> str:
    return f"deleted user {owner_id}"


def _started_at(conversation: ConversationMetadata) -> datetime:
    """The start of a conversation's reply, or the last change of the conversation if the reply has just ended."""
    return conversation["reply"]["started_at"] if conversation["reply"] else conversation["updated_at"]


def _running(reply: ReplyMetadata) -> str:
    return format_html(
        '<span class="break-anywhere">since {} by {}, attempt {}</span>',
        _time(reply["started_at"]),
        reply["worker"],
        reply["attempt"],
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
