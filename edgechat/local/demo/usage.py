"""The requests and calls of the demo's people in the last days, and budgets that are nearly used up."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from random import Random

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.urls import resolve
from django.utils import timezone

from accounts.models import Organization, User
from edgechat.local.demo.chance import dice
from edgechat.local.demo.people import LYCEUM, Member
from usage.ledger.budgets import Period
from usage.ledger.queries import limit_of
from usage.ledger.services import set_budget
from usage.models import EarlyRefusal, LedgerEntry, ModelPrice, RecorderPosition, Spending
from usage.requests.request_stream import AnsweredRequest
from usage.requests.services import count_requests

Purpose = LedgerEntry.Purpose


@dataclass(frozen=True)
class Route:
    """A call of the API, how often it is made, and its usual time. `purpose`: of the call to the model.

    The time of a call to the model is that of the whole answer. `uploads` have a rate limit of their own.
    """

    method: str
    path: str
    share: int
    milliseconds: int
    status: int = 200
    purpose: Purpose | None = None
    uploads: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a request was answered: RequestRecord has these columns."""

    status: int
    milliseconds: int
    reason: str = ""


_CONVERSATION = "/api/v1/chat/conversations/65f1c0ffee0123456789abcd"
ROUTES = (
    Route("GET", "/api/v1/chat/conversations", 16, 22),
    Route("GET", "/api/v1/chat/changes", 30, 14),
    Route("GET", f"{_CONVERSATION}/messages", 18, 24),
    Route("POST", f"{_CONVERSATION}/messages", 17, 2600, purpose=Purpose.CHAT),
    Route("POST", "/api/v1/chat/conversations", 4, 30, status=201),
    Route("PATCH", _CONVERSATION, 2, 26),
    Route("GET", "/api/v1/chat/search", 3, 55),
    Route("GET", "/api/v1/todos", 3, 18),
    Route("POST", f"{_CONVERSATION}/action-items", 1, 1900, purpose=Purpose.ACTION_ITEMS),
    Route("POST", "/api/v1/ai/complete", 4, 1700, purpose=Purpose.COMPLETE),
    Route("POST", "/api/v1/ai/summarize", 2, 4100, purpose=Purpose.SUMMARIZE),
    Route("POST", "/api/v1/ai/vision", 1, 3300, purpose=Purpose.VISION, uploads=True),
    Route("POST", "/api/v1/chat/attachments", 2, 140, status=201, uploads=True),
)
# What clients did wrong now and then: status and code.
MISTAKES = (
    (404, "not_found"),
    (409, "generation_in_progress"),
    (422, "validation_error"),
    (400, "malformed_json"),
)
# The share of streamed sends. Their answer begins with the message, before the model is called.
STREAMED, BEGUN_MILLISECONDS = 0.85, 45
# Half of the replies are written within this time.
REPLY_SECONDS = {Purpose.TITLE: 0.6, Purpose.CONTEXT_SUMMARY: 3.4}
# All but the last have a price.
MODELS = ("gemini-3.5-flash-lite", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-experimental")
MODEL_SHARES = (62, 25, 12, 1)
_SHARES = [route.share for route in ROUTES]
# The usual tokens of a call: input, output.
TOKENS = {
    Purpose.CHAT: (1500, 420),
    Purpose.TITLE: (380, 11),
    Purpose.CONTEXT_SUMMARY: (5200, 460),
    Purpose.COMPLETE: (700, 260),
    Purpose.VISION: (1400, 210),
    Purpose.SUMMARIZE: (6400, 380),
    Purpose.ACTION_ITEMS: (2100, 170),
}
# Whose budget is how full, from 0 to 1 and above.
BUDGETS: tuple[tuple[str, Period, float], ...] = (
    ("Fjord Analytics", "month", 0.97),
    ("Harbour Studio", "month", 0.86),
    ("Lyceum Press", "month", 1.04),
    ("Greenleaf Clinic", "month", 0.52),
    ("Ada Lindqvist", "month", 0.93),
    ("Marta Nowak", "month", 0.99),
    ("Tess van Dijk", "month", 0.88),
    ("Samuel Adeyemi", "month", 0.31),
)
# A budget that is emptier than this part of what it shall be is set anew: a new month has begun.
_STILL_NEAR = 0.9
# At the beginning of a month, a smaller one would not allow a single message.
_LEAST_LIMIT = 50_000


def days_of_usage(now: datetime, *, count: int) -> list[date]:
    """So many days, today last."""
    today = now.astimezone(UTC).date()
    return [today - timedelta(days=number) for number in reversed(range(count))]


def seed_day(members: list[Member], day: date, now: datetime) -> tuple[int, int]:
    """The requests and calls of a day, up to `now`. Returns how many were new."""
    requests: list[AnsweredRequest] = []
    calls: list[LedgerEntry] = []
    for member in members:
        for number, (request, purposes) in enumerate(_requests(member, day)):
            if not member.user.created_at <= request.at <= now:
                continue
            requests.append(request)
            calls += [
                call_of(
                    member,
                    f"{request.key}:{purpose}",
                    request.at,
                    purpose,
                    number,
                    request_id=request.request_id if purpose == purposes[0] else "",
                )
                for purpose in purposes
            ]
    if day <= _first_raw_day(now):
        requests = []  # their records have been deleted, so they cannot be told from new ones
    new_calls = add_calls(calls)
    with transaction.atomic():
        RecorderPosition.objects.select_for_update().get(pk=1)  # as the recorder of requests does
        new_requests = count_requests(requests) if requests else 0
    if day > _first_raw_day(now):
        _seed_early_refusals(members, day, now)
    return new_requests, new_calls


def _seed_early_refusals(members: list[Member], day: date, now: datetime) -> None:
    """What is refused on any day: programs that try paths, tokens that have expired, and sometimes a whole burst."""
    rng = dice("refusals", day)
    usual = (
        (404, "not_found", "", 40),
        (401, "token_expired", _pattern("/api/v1/chat/changes"), 25),
        (401, "not_authenticated", _pattern("/api/v1/chat/conversations"), 6),
        (401, "invalid_credentials", _pattern("/api/v1/auth/login"), 5),
        (400, "malformed_request:host", "", 9),
    )
    found = []
    for hour in (datetime.combine(day, time(number), UTC) for number in range(24)):
        if hour > now:
            break
        for status, reason, route, number in usual:
            if requests := rng.randint(0, number) // 4:
                found.append(EarlyRefusal(hour=hour, status=status, reason=reason, route=route, requests=requests))
        if rng.random() < 0.03:
            number, user = rng.randint(3, 40), rng.choice(members).user
            for each in (None, user) if rng.random() < 0.5 else (None,):
                found.append(
                    EarlyRefusal(hour=hour, status=429, reason="rate_limited:address", user=each, requests=number)
                )
    EarlyRefusal.objects.bulk_create(found, ignore_conflicts=True)


def add_calls(calls: list[LedgerEntry]) -> int:
    """Store settled calls with their costs; returns how many were new. `opened_at` may not be set before."""
    ids = [call.attempt_id for call in calls]
    before = LedgerEntry.objects.filter(attempt_id__in=ids).count()
    _add_costs(calls)
    LedgerEntry.objects.bulk_create(calls, ignore_conflicts=True, batch_size=1000)
    # Every row is opened now, because the model says so.
    made = list(LedgerEntry.objects.filter(attempt_id__in=ids, opened_at__gt=F("settled_at")))
    for call in made:
        if call.settled_at is not None:
            call.opened_at = call.settled_at - timedelta(seconds=_seconds(call))
    LedgerEntry.objects.bulk_update(made, ["opened_at"], batch_size=1000)
    return len(calls) - before


def _seconds(call: LedgerEntry) -> float:
    """How long a call took: longer for longer answers, and for the larger model."""
    rng = dice("seconds", call.attempt_id)
    usual = REPLY_SECONDS.get(Purpose(call.purpose), 0.7 + call.output_tokens / 170)
    return max(0.3, rng.lognormvariate(math.log(usual), 0.35) * (2 if call.model.endswith("pro") else 1))


def _first_raw_day(now: datetime) -> date:
    return now.astimezone(UTC).date() - timedelta(days=settings.USAGE_RAW_DAYS)


def _requests(member: Member, day: date) -> Iterator[tuple[AnsweredRequest, list[Purpose]]]:
    """The requests of one person on one day in their order, each with the purposes of its calls to the model."""
    person = member.person
    rng = dice("day", person.handle, day)
    is_weekend, is_bad_day = day.weekday() >= 5, day.toordinal() % 23 == 11
    if rng.random() < (0.55 if is_weekend else 0.08):
        return
    number = int(person.weight * (0.35 if is_weekend else 1.0) * rng.uniform(0.55, 1.45)) + 1
    midnight = datetime.combine(day, time(), UTC)
    seconds = sorted(rng.triangular(6.0, 23.0, 13.5) * 3600 for _ in range(number))
    for place, second in enumerate(seconds):
        route = rng.choices(ROUTES, _SHARES)[0]
        outcome = _outcome(rng, member, route, is_bad_day=is_bad_day and 9 <= second / 3600 <= 12)
        request = AnsweredRequest(
            user_id=member.user.pk,
            at=midnight + timedelta(seconds=second),
            method=route.method,
            route=_pattern(route.path),
            status=outcome.status,
            milliseconds=outcome.milliseconds,
            request_id=request_id_of(member.person.handle, day, place),
            is_long=route.purpose is not None,
            reason=outcome.reason,
            key=f"demo:{member.user.pk}:{day:%Y%m%d}:{place}",
        )
        purposes: list[Purpose] = []
        if route.purpose is not None and outcome.status == 200:
            purposes.append(route.purpose)
            if route.purpose == Purpose.CHAT:
                more = rng.random()
                if more < 0.22:
                    purposes.append(Purpose.TITLE)
                elif more < 0.26:
                    purposes.append(Purpose.CONTEXT_SUMMARY)
        yield request, purposes


@cache
def _pattern(path: str) -> str:
    return resolve(path).route


def request_id_of(*subject: object) -> str:
    return str(uuid.UUID(int=dice("request", *subject).getrandbits(128), version=4))


def _outcome(rng: Random, member: Member, route: Route, *, is_bad_day: bool) -> Outcome:
    milliseconds = max(2, int(rng.lognormvariate(math.log(route.milliseconds), 0.45)))
    if route.purpose == Purpose.CHAT and rng.random() < STREAMED:
        milliseconds = max(8, int(rng.lognormvariate(math.log(BEGUN_MILLISECONDS), 0.4)))
    chance = rng.random()
    if is_bad_day and chance < 0.3:
        reason = (
            "model_unavailable" if route.purpose else rng.choice(("store_unavailable", "store_unavailable:no_turn"))
        )
        return Outcome(503, 4500 + rng.randint(0, 600), reason)
    if chance < 0.002:
        return Outcome(503, 4500, "model_unavailable" if route.purpose else "store_unavailable")
    refused = _refusal(rng, member, route)
    if refused is not None:
        return refused
    if chance > 0.985:
        status, code = rng.choice(MISTAKES)
        return Outcome(status, rng.randint(5, 20), code)
    return Outcome(route.status, milliseconds * (3 if is_bad_day else 1))


def _refusal(rng: Random, member: Member, route: Route) -> Outcome | None:
    """What a limit, a budget or the model refused; whose budget is nearly used up is refused more often."""
    chance, name = rng.random(), member.person.name
    if route.purpose is None:
        is_refused = route.uploads and chance < 0.04
        return Outcome(429, rng.randint(3, 9), "rate_limited:address_strict") if is_refused else None
    if name == "Marta Nowak" and chance < 0.08:
        return Outcome(429, rng.randint(8, 20), "budget_exceeded:user_month")
    if member.person.organization == LYCEUM and chance < 0.11:
        return Outcome(429, rng.randint(8, 20), "budget_exceeded:organization_month")
    for share, status, reason in (
        (0.004, 429, "too_many_replies:replies"),
        (0.007, 429, "model_quota"),
        (0.009, 429, "budget_exceeded:user_day"),
    ):
        if chance < share:
            return Outcome(status, rng.randint(8, 20), reason)
    if route.purpose != Purpose.CHAT and chance > 0.98:
        return Outcome(422, rng.randint(700, 1900), "content_blocked")
    return None


def call_of(
    member: Member, attempt_id: str, settled_at: datetime, purpose: Purpose, number: int, *, request_id: str = ""
) -> LedgerEntry:
    rng = dice("call", member.person.handle, settled_at, purpose, number)
    usual_input, usual_output = TOKENS[purpose]
    input_tokens = int(rng.lognormvariate(math.log(usual_input), 0.6)) + 20
    output_tokens = int(rng.lognormvariate(math.log(usual_output), 0.5)) + 2
    thinking = int(output_tokens * rng.uniform(0.2, 0.5)) if purpose == Purpose.CHAT and rng.random() < 0.3 else 0
    cached = int(input_tokens * rng.uniform(0.3, 0.7)) if rng.random() < 0.35 else 0
    return LedgerEntry(
        attempt_id=attempt_id,
        user=member.user,
        organization=member.organization,
        purpose=purpose,
        model=rng.choices(MODELS, MODEL_SHARES)[0],
        request_id=request_id,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        thinking_tokens=thinking,
        abandoned_after=settled_at + timedelta(minutes=5),
        settled_at=settled_at,
    )


def _add_costs(calls: list[LedgerEntry]) -> None:
    prices = list(ModelPrice.objects.order_by("-valid_from"))
    for call in calls:
        day = call.settled_at.date() if call.settled_at else timezone.now().date()
        price = next((each for each in prices if each.model == call.model and each.valid_from <= day), None)
        if price is not None:
            micros = (
                (call.input_tokens - call.cached_tokens) * price.input_micros
                + call.cached_tokens * price.cached_input_micros
                + call.output_tokens * price.output_micros
            )
            call.cost_micros = round(micros / 1_000_000)


@transaction.atomic
def seed_budgets(members: list[Member]) -> int:
    """Budgets as full as in BUDGETS. Returns how many were set. Those that are still nearly as full stay."""
    subjects: dict[str, User | Organization] = {}
    for member in members:
        subjects[member.person.name] = member.user
        if member.organization is not None:
            subjects[member.organization.name] = member.organization
    month = timezone.now().astimezone(UTC).date().replace(day=1)
    count = 0
    for name, period, fraction in BUDGETS:
        subject = subjects[name]
        owner = {"user": subject} if isinstance(subject, User) else {"organization": subject}
        used = Spending.objects.filter(**owner, month=month).values_list("month_tokens", flat=True).first() or 0
        limit, wanted = limit_of(subject, period), max(_LEAST_LIMIT, int(used / fraction) // 1000 * 1000)
        if isinstance(limit, int) and (used >= _STILL_NEAR * fraction * limit or limit == wanted):
            continue
        set_budget(subject=subject, period=period, token_limit=wanted)
        count += 1
    return count
