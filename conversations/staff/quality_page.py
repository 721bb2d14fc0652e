"""Replies that went wrong, and answers that users did not like, by day and model; texts only for who may read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, get_args

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts.models import User
from accounts.staff.csv_files import ROWS_PER_BATCH
from accounts.staff.filters import is_id
from accounts.staff.rights import may_see
from accounts.staff.sessions import require_recent_password
from conversations import transcript_repository as transcripts
from conversations.transcript_repository import JudgedReply, Quality
from edgechat.errors import StoreUnavailable
from usage.ledger.queries import calls_of_attempts
from usage.models import LedgerEntry
from usage.staff import spans
from usage.staff.find_page import link_to_request, may_find
from usage.staff.reasons import in_words
from usage.staff.spans import Span, span_of

KINDS: dict[Quality, str] = {
    "failed": "Failed",
    "blocked": "Blocked",
    "interrupted": "Interrupted",
    "disliked": "Thumbs down",
}
# Of one kind in a span, for the counts by model, which the ledger has. MongoDB counts the others by day only. The rows
# that are shown are the newest with the chosen model.
MAX_READ, ROWS = 5000, 50
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

    def read(self, limit: int, *, end: datetime | None = None, without: Sequence[str] = ()) -> list[JudgedReply]:
        return transcripts.judged_replies(
            self.kind, self.span.since, end or self.span.until, limit=limit, owner_id=self.owner_id, without=without
        )

    def count(self) -> dict[date, int]:
        """The number of replies by day. Raises StoreUnavailable."""
        return transcripts.count_judged_replies(self.kind, self.span.since, self.span.until, owner_id=self.owner_id)


@dataclass(frozen=True)
class Counts:
    """How many replies there are by day. `by_model` has them by day and model, of the days after `cut` only.

    `cut`: the last day that has more replies than were read; None if all were read. `by_day`: None if MongoDB needed
    too long to count them.
    """

    by_model: Counter[tuple[date, str]]
    cut: date | None
    by_day: dict[date, int] | None

    @classmethod
    def of(cls, chosen: Chosen, found: list[JudgedReply], calls: dict[str, Call]) -> Counts:
        by_model = Counter(
            (reply["created_at"].date(), calls[reply["_id"]].model)
            for reply in found
            if chosen.model in ("", calls[reply["_id"]].model)
        )
        if len(found) < MAX_READ:
            by_day: Counter[date] = Counter()
            for (day, _), number in by_model.items():
                by_day[day] += number
            return cls(by_model, None, by_day)
        cut = found[-1]["created_at"].date()
        of_later_days = Counter({(day, model): number for (day, model), number in by_model.items() if day > cut})
        if chosen.model:
            return cls(of_later_days, cut, None)
        try:
            return cls(of_later_days, cut, chosen.count())
        except StoreUnavailable:
            return cls(of_later_days, cut, None)

    @property
    def total(self) -> int | None:
        """None if it is not known."""
        return None if self.by_day is None else sum(self.by_day.values())

    @property
    def in_words(self) -> str:
        if self.total is None:
            return "replies"
        return "1 reply" if self.total == 1 else f"{self.total:,} replies"


def read_page(request: HttpRequest, *, may_read: bool, record: Record, owners: Owners) -> dict[str, Any]:
    """The context of the page. `record(owner_id, message_ids)` writes the audit row of a reading before it is shown.

    `owners` returns links to the owners with these ids. Raises PermissionDenied, PasswordNeeded and Http404.
    """
    chosen, with_texts = Chosen.of(request), "texts" in request.GET
    if with_texts:
        if not may_read:
            raise PermissionDenied
        require_recent_password(request)
    found = chosen.read(MAX_READ)
    calls = _calls(found)
    counts = Counts.of(chosen, found, calls)
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
        "title": f"{KINDS[chosen.kind]}: {counts.in_words} {where} (UTC)",
        "kinds": [(name, chosen.address(kind=key, model=None), key == chosen.kind) for key, name in KINDS.items()],
        "chosen": chosen,
        "span": chosen.span,
        "fault": chosen.fault,
        "spans": spans.named_spans(),
        "today": spans.today(),
        "by_day": _by_day(counts, chosen),
        "counts": counts,
        "complete": _complete(counts, chosen),
        "most": MAX_READ,
        "owner": _owner(chosen.owner_id, owners),
        "all_owners": chosen.address(user=None),
        "all_models": chosen.address(model=None),
        "csv": f"{reverse('admin:conversations_conversation_quality_csv')}{chosen.address()}",
        "table": {
            "headers": [*HEADERS, *(["Text and comment"] if with_texts else [])],
            "rows": [_row(request, reply, calls[reply["_id"]], links[reply["owner_id"]], texts) for reply in shown],
        },
        "has_more": len(fitting) > len(shown),
        "with_texts": chosen.address(texts="yes") if may_read and not with_texts and shown else None,
    }


def csv_batches(request: HttpRequest, owners: Owners) -> Iterator[list[list[Any]]]:
    """The rows that the page has with the same choice, without its bounds, in batches. Never with texts."""
    chosen = Chosen.of(request)
    found = chosen.read(ROWS_PER_BATCH)
    same_time: list[str] = []
    while found:
        calls, links = _calls(found), owners({reply["owner_id"] for reply in found})
        yield [
            _row(request, reply, calls[reply["_id"]], links[reply["owner_id"]], None)
            for reply in found
            if chosen.model in ("", calls[reply["_id"]].model)
        ]
        if len(found) < ROWS_PER_BATCH:
            return
        last = found[-1]["created_at"]
        same_time = [
            *(same_time if found[0]["created_at"] == last else []),
            *(reply["_id"] for reply in found if reply["created_at"] == last),
        ]
        # MongoDB keeps milliseconds.
        found = chosen.read(ROWS_PER_BATCH, end=last + timedelta(milliseconds=1), without=same_time)


def counted(request: HttpRequest, user: User, span: Span) -> list[tuple[str, str]]:
    """How many of a user's replies were of each kind, in words, with the address of their list.

    Empty for staff who may not see conversations, and if there is none.
    """
    if not may_see(request, "conversations.conversation"):
        return []
    page, found = reverse("admin:conversations_conversation_quality"), []
    for kind, name in KINDS.items():
        try:
            chosen = Chosen(kind, span, "", "", user.pk)
            number = sum(chosen.count().values())
        except StoreUnavailable:
            return [("not counted, because MongoDB does not answer", "")]
        if number:
            found.append((f"{number:,} × {name.lower()}", f"{page}{chosen.address()}"))
    return found


def _by_day(counts: Counts, chosen: Chosen) -> dict[str, Any]:
    """A row for each day and a column for each model, with links to the replies."""
    by_model: Counter[str] = Counter()
    for (_, model), number in counts.by_model.items():
        by_model[model] += number
    models = [model for model, _ in by_model.most_common(MODELS)]
    has_others = len(by_model) > len(models)

    def cell(number: int, **choice: Any) -> str:
        return (
            format_html('<a class="text-link" href="{}">{}</a>', chosen.address(**choice), f"{number:,}")
            if number
            else "-"
        )

    rows = []
    for day in sorted({*(day for day, _ in counts.by_model), *(counts.by_day or ())}, reverse=True):
        of_day = {model: number for (each, model), number in counts.by_model.items() if each == day}
        days = {"from": day, "to": day}
        others = sum(number for model, number in of_day.items() if model not in models)
        if counts.cut is not None and day <= counts.cut:
            by_models = ["?"] * (len(models) + has_others)
        else:
            by_models = [cell(of_day.get(model, 0), model=model, **days) for model in models]
            by_models += [f"{others:,}"] if has_others else []
        # MongoDB counts after the replies were read, and one of them may have been made again meanwhile.
        whole = sum(of_day.values()) if counts.by_day is None else counts.by_day.get(day, 0)
        rows.append([str(day), *by_models, cell(whole, **days)])
    return {"headers": ["Day", *models, *(["Others"] if has_others else []), "All"], "rows": rows}


def _complete(counts: Counts, chosen: Chosen) -> str | None:
    """The address of the same choice for the days with complete counts, if some have and some have not."""
    if counts.cut is None or counts.cut >= chosen.span.last:
        return None
    return chosen.address(**{"from": counts.cut + timedelta(days=1)})


def _row(request: HttpRequest, reply: JudgedReply, call: Call, owner: str, texts: dict[str, str] | None) -> list[Any]:
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
        link_to_request(call.request_id) if may_find(request) else call.request_id or "-",
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
