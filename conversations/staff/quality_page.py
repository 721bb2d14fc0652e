"""Replies that went wrong, and answers that users did not like, by day and model; texts only for who may read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode

from accounts.staff.sessions import require_recent_password
from conversations import transcript_repository as transcripts
from conversations.transcript_repository import JudgedReply, Quality
from usage.models import LedgerEntry

KINDS: dict[Quality, str] = {
    "failed": "Failed",
    "blocked": "Blocked",
    "interrupted": "Interrupted",
    "disliked": "Thumbs down",
}
# Of one kind on one day. The rows that are shown are the newest of these with the chosen model.
MAX_READ, ROWS = 1000, 50
HEADERS = ["Reply of", "Conversation", "Owner", "Model", "Attempt", "Ended by", "Rating"]
NO_MODEL = "not called"

Record = Callable[[int, list[str]], None]
Owners = Callable[[set[int]], dict[int, str]]


def read_page(request: HttpRequest, *, may_read: bool, record: Record, owners: Owners) -> dict[str, Any]:
    """The context of the page. `record(owner_id, message_ids)` writes the audit row of a reading before it is shown.

    `owners` returns links to the owners with these ids. Raises PermissionDenied, PasswordNeeded and Http404.
    """
    kind, day = _kind(request.GET.get("kind", "failed")), _day(request.GET.get("day", ""))
    model, with_texts = request.GET.get("model", ""), "texts" in request.GET
    if with_texts:
        if not may_read:
            raise PermissionDenied
        require_recent_password(request)
    start = datetime.combine(day, time(), UTC)
    found = transcripts.judged_replies(kind, start, start + timedelta(days=1), limit=MAX_READ)
    models = _models(found)
    counts = Counter(models[reply["_id"]] for reply in found)
    shown = [reply for reply in found if not model or models[reply["_id"]] == model][:ROWS]
    links = owners({reply["owner_id"] for reply in shown})
    texts: dict[str, str] | None = None
    if with_texts:
        for owner_id in links:
            record(owner_id, [reply["_id"] for reply in shown if reply["owner_id"] == owner_id])
        texts = transcripts.texts_of_replies([reply["_id"] for reply in shown])

    def address(**changes: Any) -> str:
        return "?" + urlencode({"kind": kind, "day": str(day), **({"model": model} if model else {}), **changes})

    return {
        "title": f"{KINDS[kind]}: {_amount(len(found))} on {day} (UTC)",
        "kinds": [(name, address(kind=key), key == kind) for key, name in KINDS.items()],
        "kind": kind,
        "day": day,
        "earlier": address(day=day - timedelta(days=1)),
        "later": address(day=day + timedelta(days=1)) if day < timezone.now().astimezone(UTC).date() else None,
        "by_model": {
            "headers": ["Model", "Replies"],
            "rows": [
                [format_html('<a class="text-link" href="{}">{}</a>', address(model=name), name), number]
                for name, number in counts.most_common()
            ],
        },
        "model": model,
        "all_models": "?" + urlencode({"kind": kind, "day": str(day)}),
        "table": {
            "headers": [*HEADERS, *(["Text and comment"] if with_texts else [])],
            "rows": [_row(reply, models[reply["_id"]], links[reply["owner_id"]], texts) for reply in shown],
        },
        "has_more": sum(counts.values() if not model else [counts[model]]) > len(shown),
        "with_texts": address(texts="yes") if may_read and not with_texts and shown else None,
    }


def _row(reply: JudgedReply, model: str, owner: str, texts: dict[str, str] | None) -> list[Any]:
    link = reverse("admin:conversations_conversation_change", args=[reply["conversation_id"]])
    text = [] if texts is None else [format_html('<div class="transcript-text">{}</div>', texts.get(reply["_id"], ""))]
    return [
        f"{reply['created_at']:%Y-%m-%d %H:%M:%S} UTC",
        format_html('<a class="text-link" href="{}">{}</a>', link, reply["conversation_id"]),
        owner,
        model,
        reply["attempt"],
        reply["finish_reason"] or "-",
        reply["rating"] or "-",
        *text,
    ]


def _models(replies: Iterable[JudgedReply]) -> dict[str, str]:
    """The model of each reply, from the ledger; NO_MODEL if no call of its last attempt reached a model.

    The id of a call begins with the reply's id and the attempt (conversations.replies.start).
    """
    found = {f"{reply['_id']}:{reply['attempt']}": reply["_id"] for reply in replies}
    models = dict.fromkeys(found.values(), NO_MODEL)
    names = list(found)
    for first in range(0, len(names), 250):
        wanted = Q()
        for name in names[first : first + 250]:
            wanted |= Q(attempt_id__startswith=f"{name}:")
        for attempt, answered_by, model in LedgerEntry.objects.filter(
            wanted, purpose=LedgerEntry.Purpose.CHAT
        ).values_list("attempt_id", "answered_by", "model"):
            models[found[attempt.rpartition(":")[0]]] = answered_by or model
    return models


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
    """The chosen day, or today (UTC)."""
    if not given:
        return timezone.now().astimezone(UTC).date()
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise Http404 from None
    if not 2000 <= day.year < 3000:
        raise Http404
    return day
