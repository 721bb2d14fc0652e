"""Replies that went wrong, and answers that users did not like, by day and model; texts only for who may read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts.models import User
from accounts.staff.filters import is_id
from accounts.staff.rights import may_see
from accounts.staff.sessions import require_recent_password
from conversations import transcript_repository as transcripts
from conversations.transcript_repository import JudgedReply, Quality
from edgechat.errors import StoreUnavailable
from usage.ledger.queries import calls_of_attempts
from usage.models import LedgerEntry
from usage.staff import spans
from usage.staff.find_page import link_to_request
from usage.staff.reasons import in_words
from usage.staff.spans import Span, span_of

KINDS: dict[Quality, str] = {
    "failed": "Failed",
    "blocked": "Blocked",
    "interrupted": "Interrupted",
    "disliked": "Thumbs down",
}
# Of one kind in a span. The rows that are shown are the newest of these with the chosen model.
MAX_READ, ROWS = 1000, 50
# The models with columns of their own; the others share one.
MODELS = 6
HEADERS = ["Reply of", "Conversation", "Owner", "Model", "Attempt", "Why", "Rating", "Request id"]
NO_MODEL = "not called"

Record = Callable[[int, list[str]], None]
Owners = Callable[[set[int]], dict[int, str]]


@dataclass(frozen=True)
class Call:
    """The call to the model of a reply's last attempt."""

    model: str = NO_MODEL
    request_id: str = ""


@dataclass(frozen=True)
class Chosen:
    """What an address chooses: `?kind=failed&from=2026-01-05&to=2026-01-11&model=m&user=7`, or `day` for one day."""

    kind: Quality
    span: Span
    fault: str
    model: str
    owner_id: int | None

    @classmethod
    def of(cls, request: HttpRequest) -> Chosen:
        """Raises Http404."""
        day, owner = request.GET.get("day", ""), request.GET.get("user", "")
        if owner and not is_id(owner):
            raise Http404
        span, fault = (Span(_day(day), _day(day)), "") if day else span_of(request)
        kind = _kind(request.GET.get("kind", "failed"))
        return cls(kind, span, fault, request.GET.get("model", ""), int(owner) if owner else None)

    def query(self, **changes: Any) -> str:
        """The same choice with other values; None leaves one out."""
        first, last = self.span.first, self.span.last
        values = {"kind": self.kind, "from": first, "to": last, "model": self.model, "user": self.owner_id, **changes}
        return urlencode({name: str(value) for name, value in values.items() if value not in (None, "")})

    @property
    def kept(self) -> list[tuple[str, Any]]:
        """What the form for the days sends besides them."""
        given = [("kind", self.kind), ("model", self.model), ("user", self.owner_id)]
        return [(name, value) for name, value in given if value not in (None, "")]

    def address(self, **changes: Any) -> str:
        return f"?{self.query(**changes)}"

    def read(self) -> list[JudgedReply]:
        return transcripts.judged_replies(
            self.kind, self.span.since, self.span.until, limit=MAX_READ, owner_id=self.owner_id
        )


def read_page(request: HttpRequest, *, may_read: bool, record: Record, owners: Owners) -> dict[str, Any]:
    """The context of the page. `record(owner_id, message_ids)` writes the audit row of a reading before it is shown.

    `owners` returns links to the owners with these ids. Raises PermissionDenied, PasswordNeeded and Http404.
    """
    chosen, with_texts = Chosen.of(request), "texts" in request.GET
    if with_texts:
        if not may_read:
            raise PermissionDenied
        require_recent_password(request)
    found = chosen.read()
    calls = _calls(found)
    fitting = [reply for reply in found if chosen.model in ("", calls[reply["_id"]].model)]
    shown = fitting[:ROWS]
    links = owners({reply["owner_id"] for reply in shown})
    texts: dict[str, str] | None = None
    if with_texts:
        for owner_id in links:
            record(owner_id, [reply["_id"] for reply in shown if reply["owner_id"] == owner_id])
        texts = transcripts.texts_of_replies([reply["_id"] for reply in shown])
    where = f"on {chosen.span}" if chosen.span.days == 1 else f"from {chosen.span}"
    return {
        "title": f"{KINDS[chosen.kind]}: {_amount(len(found))} {where} (UTC)",
        "kinds": [(name, chosen.address(kind=key, model=None), key == chosen.kind) for key, name in KINDS.items()],
        "chosen": chosen,
        "span": chosen.span,
        "fault": chosen.fault,
        "spans": spans.named_spans(),
        "today": spans.today(),
        "by_day": _by_day(fitting, calls, chosen),
        "owner": _owner(chosen.owner_id, owners),
        "all_owners": chosen.address(user=None),
        "all_models": chosen.address(model=None),
        "csv": f"{reverse('admin:conversations_conversation_quality_csv')}{chosen.address()}",
        "table": {
            "headers": [*HEADERS, *(["Text and comment"] if with_texts else [])],
            "rows": [_row(reply, calls[reply["_id"]], links[reply["owner_id"]], texts) for reply in shown],
        },
        "has_more": len(fitting) > len(shown),
        "with_texts": chosen.address(texts="yes") if may_read and not with_texts and shown else None,
    }


def csv_rows(request: HttpRequest, owners: Owners) -> Iterator[list[Any]]:
    """The rows that the page has with the same choice, without its bound of rows. Never with texts."""
    chosen = Chosen.of(request)
    found = chosen.read()
    calls, links = _calls(found), owners({reply["owner_id"] for reply in found})
    for reply in found:
        if chosen.model in ("", calls[reply["_id"]].model):
            yield _row(reply, calls[reply["_id"]], links[reply["owner_id"]], None)


def counted(request: HttpRequest, user: User, span: Span) -> list[tuple[str, str]]:
    """How many of a user's replies were of each kind, in words, with the address of their list.

    Empty for staff who may not see conversations, and if there is none.
    """
    if not may_see(request, "conversations.conversation"):
        return []
    page, found = reverse("admin:conversations_conversation_quality"), []
    for kind, name in KINDS.items():
        try:
            number = transcripts.count_judged_replies(user.pk, kind, span.since, span.until, limit=MAX_READ)
        except StoreUnavailable:
            return [("not counted, because MongoDB does not answer", "")]
        if number:
            query = Chosen(kind, span, "", "", user.pk).address()
            more = " or more" if number == MAX_READ else ""
            found.append((f"{number:,}{more} × {name.lower()}", f"{page}{query}"))
    return found


def _by_day(replies: list[JudgedReply], calls: dict[str, Call], chosen: Chosen) -> dict[str, Any]:
    """A row for each day and a column for each model, with links to the replies."""
    counts = Counter((reply["created_at"].date(), calls[reply["_id"]].model) for reply in replies)
    by_model: Counter[str] = Counter()
    for (_, model), number in counts.items():
        by_model[model] += number
    models = [model for model, _ in by_model.most_common(MODELS)]

    def cell(number: int, **choice: Any) -> str:
        return format_html('<a class="text-link" href="{}">{}</a>', chosen.address(**choice), number) if number else "-"

    rows = []
    for day in sorted({day for day, _ in counts}, reverse=True):
        of_day = {model: number for (each, model), number in counts.items() if each == day}
        days = {"from": day, "to": day}
        others = [sum(number for model, number in of_day.items() if model not in models)]
        rows.append(
            [
                str(day),
                *(cell(of_day.get(model, 0), model=model, **days) for model in models),
                *(others if len(by_model) > len(models) else []),
                cell(sum(of_day.values()), **days),
            ]
        )
    return {"headers": ["Day", *models, *(["Others"] if len(by_model) > len(models) else []), "All"], "rows": rows}


def _row(reply: JudgedReply, call: Call, owner: str, texts: dict[str, str] | None) -> list[Any]:
    link = reverse("admin:conversations_conversation_change", args=[reply["conversation_id"]])
    text = [] if texts is None else [format_html('<div class="transcript-text">{}</div>', texts.get(reply["_id"], ""))]
    return [
        f"{reply['created_at']:%Y-%m-%d %H:%M:%S} UTC",
        format_html('<a class="text-link" href="{}">{}</a>', link, reply["conversation_id"]),
        owner,
        call.model,
        reply["attempt"],
        _why(reply),
        reply["rating"] or "-",
        link_to_request(call.request_id),
        *text,
    ]


def _why(reply: JudgedReply) -> str:
    """The code of a failure in words, or what the model said of its end."""
    if reply["failure"]:
        return in_words(reply["failure"])
    return "Its process ended" if reply["status"] == "interrupted" else reply["finish_reason"] or "-"


def _calls(replies: Iterable[JudgedReply]) -> dict[str, Call]:
    """The call of each reply's last attempt, from the ledger. The attempt may have called no model.

    The id of a call begins with the reply's id and the attempt (conversations.replies.start).
    """
    attempts = {reply["_id"]: f"{reply['_id']}:{reply['attempt']}" for reply in replies}
    found = calls_of_attempts(list(attempts.values()), LedgerEntry.Purpose.CHAT)
    return {reply: Call(*found[attempt]) if attempt in found else Call() for reply, attempt in attempts.items()}


def _owner(owner_id: int | None, owners: Owners) -> str:
    return "" if owner_id is None else owners({owner_id})[owner_id]


def _amount(number: int) -> str:
    if number == MAX_READ:
        return f"the newest {MAX_READ:,} replies"
    return "1 reply" if number == 1 else f"{number:,} replies"


def _kind(given: str) -> Quality:
    for kind in get_args(Quality):
        if given == kind:
            found: Quality = kind
            return found
    raise Http404


def _day(given: str) -> date:
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise Http404 from None
    if not 2000 <= day.year < 3000:
        raise Http404
    return day
