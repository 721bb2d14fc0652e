"""Requests in words: why they were refused (`RequestRecord.reason`), and their routes."""

from __future__ import annotations

import re

# Every refusal by a limit, a budget, overload or the model. Faults and faulty requests are no refusals.
REFUSALS = {
    "budget_exceeded:user_month": "Budget of the user, month",
    "budget_exceeded:user_day": "Budget of the user, day",
    "budget_exceeded:organization_month": "Budget of the organization, month",
    "budget_exceeded:organization_day": "Budget of the organization, day",
    "rate_limited:address": "Rate limit of an address",
    "rate_limited:simultaneous_requests": "Concurrency: requests of an address",
    "rate_limited:connections": "Concurrency: connections of an address",
    "rate_limited:address_strict": "Rate limit of an address: logins, uploads, invitations, imports",
    "rate_limited:held_bytes": "Rate limit of an address: bytes of unread requests",
    "rate_limited": "Rate limit",
    "too_many_replies:replies": "Concurrency: replies of the user",
    "too_many_replies:streams": "Concurrency: event streams of the user",
    "too_many_imports": "Concurrency: imports of the user",
    "import_quota_exceeded": "Quota of imports of the user",
    "login_locked": "Failed logins",
    "model_quota": "Quota of the model",
    "content_blocked": "The model withheld its answer",
    "store_unavailable:no_turn": "Overload: the queue was too long",
    "store_unavailable:held_bytes": "Overload: too many bytes of requests",
}
# Refused before their user was checked: EarlyRefusal has them, and RequestRecord has not.
EARLY = ("rate_limited:address", "rate_limited:simultaneous_requests", "rate_limited:connections")
# What EarlyRefusal often has, for its filter.
USUAL_EARLY = (
    *EARLY,
    "rate_limited:address_strict",
    "not_authenticated",
    "token_expired",
    "token_revoked",
    "invalid_credentials",
    "login_locked",
    "not_found",
    "malformed_request:host",
    "validation_error",
    "store_unavailable:no_turn",
)
# What is no refusal, in words that are clearer than its code.
_OTHERS = {
    "malformed_request:host": "Wrong host",
    "malformed_json": "Malformed JSON",
    "not_authenticated": "No valid access token",
}
# In addresses of lists: requests that failed before reasons were recorded.
UNKNOWN = "unknown"


def code_of(reason: str) -> str:
    return reason.partition(":")[0]


def in_words(reason: str) -> str:
    """For example `Budget of the user, month`; codes that are no refusals are their own words."""
    return (
        REFUSALS.get(reason) or _OTHERS.get(reason) or code_of(reason).replace("_", " ").capitalize() or "Not recorded"
    )


def reasons_of(value: str) -> list[str]:
    """The reasons that a value in an address stands for: one, or all of a code."""
    if value == UNKNOWN:
        return [""]
    return [value, *(reason for reason in REFUSALS if code_of(reason) == value and reason != value)]


def route_in_words(route: str) -> str:
    """`/api/v1/todos/{todo_id}` for `api/v1/todos/<int:todo_id>`."""
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
