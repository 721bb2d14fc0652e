"""The days that pages of figures are about, as their address names them: `?from=2026-01-05&to=2026-01-11`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode

MAX_DAYS = 366
USUAL_DAYS = 30
RANGES = (7, 30, 90)


@dataclass(frozen=True)
class Span:
    """Whole days, UTC, the last included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The end, exclusive."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def query(self) -> str:
        return urlencode({"from": self.first.isoformat(), "to": self.last.isoformat()})

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


def now() -> datetime:
    return timezone.now()


def today() -> date:
    return now().astimezone(UTC).date()


def last_days(days: int) -> Span:
    return Span(today() - timedelta(days=days - 1), today())


def named_spans() -> list[tuple[str, Span]]:
    """The spans that pages offer. Weeks begin on Monday."""
    day = today()
    week, month = day - timedelta(days=day.weekday()), day.replace(day=1)
    last_month = month - timedelta(days=1)
    return [
        ("Today", Span(day, day)),
        *((f"{days} days", last_days(days)) for days in RANGES),
        ("Last week", Span(week - timedelta(days=7), week - timedelta(days=1))),
        ("This month", Span(month, day)),
        ("Last month", Span(last_month.replace(day=1), last_month)),
    ]


def span_of(request: HttpRequest) -> tuple[Span, str]:
    """The span of a page's address, and what is wrong with it: then the span is the usual one.

    `?days=7` is short for the last seven days, today included.
    """
    first, last, days = (request.GET.get(name, "").strip() for name in ("from", "to", "days"))
    if not (first or last):
        return last_days(int(days) if days in map(str, RANGES) else USUAL_DAYS), ""
    usual = last_days(USUAL_DAYS)
    try:
        until = min(date.fromisoformat(last) if last else today(), today())
        since = date.fromisoformat(first) if first else until
    except ValueError:
        return usual, "Please write days as 2026-01-31."
    if since > until:
        return usual, "The first day must not be after the last, and not in the future."
    if (until - since).days >= MAX_DAYS:
        return usual, f"Please choose at most {MAX_DAYS} days."
    return Span(since, until), ""
