"""Conversations for staff: their metadata, and, with a separate permission, their transcripts.

Conversations are in MongoDB, so this module has its own pages. They write nothing except the audit row of a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import yesno
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import escape, format_html
from django.utils.http import urlencode
from django.views.decorators.http import require_GET

from accounts.models import User
from accounts.staff.csv_files import ROWS_PER_BATCH, csv_response
from accounts.staff.filters import is_id
from accounts.staff.pages import RecordAdmin
from accounts.staff.sessions import require_recent_password
from accounts.staff.site import StaffSite, show_way
from conversations import transcript_repository as transcripts
from conversations.documents import is_conversation_id
from conversations.messages.pages import message_page
from conversations.models import Conversation
from conversations.staff.owners import may_see_addresses, owner_links, owner_name, owner_with, owners_matching
from conversations.staff.quality_page import HEADERS as QUALITY_HEADERS
from conversations.staff.quality_page import counted as quality_counts
from conversations.staff.quality_page import csv_batches, read_page
from conversations.staff.readings import ReadingNotAudited, record_reading
from conversations.staff.todo_admin import TodoAdmin
from conversations.transcript_repository import ConversationMetadata, ReplyMetadata
from edgechat.http.answer_bytes import take_page
from edgechat.stores.mongo import MongoUnavailable
from usage.staff.people_admin import COUNTS_OF_USERS

__all__ = ["ConversationAdmin", "TodoAdmin"]

COUNTS_OF_USERS.append(quality_counts)

CONVERSATIONS_A_PAGE = 50
MESSAGES_A_PAGE = 50
OWNERS_TO_CHOOSE = 20

HEADERS = ["Conversation", "Owner", "Messages", "Last change", "State", "Running reply"]


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
        title, found, owners = self._search(
            request, term, int(before) if before else None, limit=CONVERSATIONS_A_PAGE + 1
        )
        shown, has_more = found[:CONVERSATIONS_A_PAGE], len(found) > CONVERSATIONS_A_PAGE
        links = owner_links(request, [conversation["owner_id"] for conversation in shown])
        return self._render(
            request,
            "staff_list",
            title=title,
            term=term,
            table={"headers": HEADERS, "rows": [_row(one, links) for one in shown]},
            has_more=has_more,
            older=urlencode({"q": term, "before": str(shown[-1]["change"])}) if term and has_more else None,
            newest=urlencode({"q": term}) if before else None,
            csv=urlencode({"q": term}) if term else "",
            by_part=may_see_addresses(request),
            owners=[(email, urlencode({"q": owner_id})) for owner_id, email in owners],
        )

    def csv_page(self, request: HttpRequest) -> HttpResponseBase:
        """The conversations that the list finds, without its pages."""
        require_recent_password(request)
        term = request.GET.get("q", "").strip()

        # Read before the answer starts, so that a store that does not answer is told on a page.
        first = self._search(request, term, None, limit=ROWS_PER_BATCH)[1]

        def batches() -> Iterator[list[list[Any]]]:
            found = first
            while found:
                links = owner_links(request, [conversation["owner_id"] for conversation in found])
                yield [_row(conversation, links) for conversation in found]
                if len(found) < ROWS_PER_BATCH or not term:
                    return
                found = self._search(request, term, found[-1]["change"], limit=ROWS_PER_BATCH)[1]

        return csv_response(request, "conversation", HEADERS, batches)

    def _search(
        self, request: HttpRequest, term: str, before: int | None, *, limit: int
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
        elif (owner_id := owner_with(term)) is not None:
            found = transcripts.list_metadata(owner_id, limit=limit, before=before)
            if found or User.objects.filter(pk=owner_id).exists():
                return f"Conversations of {owner_name(request, owner_id)}", found, []
        else:
            owners = owners_matching(request, term, limit=OWNERS_TO_CHOOSE + 1)
            if len(owners) == 1:
                return self._search(request, str(owners[0][0]), before, limit=limit)
            if owners:
                first = sorted(owners, key=itemgetter(1))[:OWNERS_TO_CHOOSE]
                more = f"More than {len(first)}" if len(owners) > len(first) else str(len(first))
                return f"{more} users with “{term}” in their address: choose one", [], first
        return f"Nothing found for “{term}”", [], []

    def metadata_page(self, request: HttpRequest, conversation_id: str) -> HttpResponse:
        conversation = _metadata(conversation_id)
        owner_id, reply = conversation["owner_id"], conversation["reply"]
        facts: dict[str, Any] = {
            "Id": conversation_id,
            "Owner": owner_links(request, [owner_id])[owner_id],
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
        record_reading(request, owner_id, conversation=conversation_id, **read)
        return self._render(
            request,
            "staff_transcript",
            title=f"Transcript of {conversation_id}",
            original=Conversation(conversation_id),
            conversation=conversation,
            conversation_id=conversation_id,
            owner=owner_links(request, [owner_id])[owner_id],
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
            record_reading(request, owner_id, messages=message_ids)

        may_read, owners = self.has_transcript_permission(request), partial(owner_links, request)
        page = read_page(request, may_read=may_read, record=record, owners=owners)
        show_way(request, ("Chat", reverse("admin:app_list", args=["conversations"])), ("Quality of replies", ""))
        return self._render(request, "staff_quality", **page)

    def quality_csv(self, request: HttpRequest) -> HttpResponseBase:
        require_recent_password(request)
        batches = csv_batches(request, partial(owner_links, request))
        first = next(batches, [])  # before the answer starts, as above
        return csv_response(request, "quality", QUALITY_HEADERS, lambda: chain([first], batches))

    def _render(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        shown = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"conversations/{template}.html", shown)


def _metadata(conversation_id: str) -> ConversationMetadata:
    conversation = transcripts.find_metadata(conversation_id) if is_conversation_id(conversation_id) else None
    if conversation is None:
        raise Http404
    return conversation


def _row(conversation: ConversationMetadata, owners: dict[int, str]) -> list[Any]:
    link = reverse("admin:conversations_conversation_change", args=[conversation["_id"]])
    states = [name for name in ("pinned", "archived", "temporary") if conversation[name]]
    reply = conversation["reply"]
    return [
        format_html('<a class="text-link font-semibold" href="{}">{}</a>', link, conversation["_id"]),
        owners[conversation["owner_id"]],
        conversation["message_count"],
        _time(conversation["updated_at"]),
        ", ".join(states) or "-",
        _running(reply) if reply else "-",
    ]


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
