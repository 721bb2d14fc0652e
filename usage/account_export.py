"""This app's part of a user's export: calls to the model, requests and budgets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, TypedDict

from accounts.lifecycle.data_export import Record, record_of, rows_of
from usage.models import Budget, EarlyRefusal, HourlyUsage, LedgerEntry, RequestRecord


class LedgerRecord(TypedDict):
    id: Annotated[int, "The row's id."]
    organization_id: Annotated[int | None, "The id of the organization that is charged too."]
    purpose: Annotated[str, "What the model was called for, for example `chat`."]
    model: Annotated[str, "The model that was called."]
    answered_by: Annotated[str, "The model that answered, as it names itself."]
    input_tokens: Annotated[int, "The number of input tokens."]
    output_tokens: Annotated[int, "The number of output tokens, thinking included."]
    cached_tokens: Annotated[int, "Part of the input tokens."]
    thinking_tokens: Annotated[int, "Part of the output tokens."]
    estimated: Annotated[bool, "Whether the counts are estimates."]
    opened_at: Annotated[datetime, "When the call began."]
    settled_at: Annotated[datetime | None, "When the call ended and was charged."]


class HourlyUsageRecord(TypedDict):
    hour: Annotated[datetime, "The start of the hour, UTC."]
    requests: Annotated[int, "The number of requests."]
    input_tokens: Annotated[int, "The number of input tokens."]
    output_tokens: Annotated[int, "The number of output tokens, thinking included."]


class RequestLine(TypedDict):
    at: Annotated[datetime, "When the request came."]
    method: Annotated[str, "The HTTP method."]
    route: Annotated[str, "The path, with names in place of ids."]
    status: Annotated[int, "The status of the answer."]
    milliseconds: Annotated[int, "The time until the answer."]


class EarlyRefusalRecord(TypedDict):
    hour: Annotated[datetime, "The start of the hour, UTC."]
    status: Annotated[int, "The status of the answers."]
    reason: Annotated[str, "The code of the error, and which limit refused the requests."]
    requests: Annotated[int, "The number of requests."]


class BudgetRecord(TypedDict):
    period: Annotated[str, "`day` or `month`."]
    token_limit: Annotated[int | None, "The number of tokens; null for no limit."]


TYPES = {
    "ledger": ("ledger", LedgerRecord),
    "hourly_usage": ("hourly_usage", HourlyUsageRecord),
    "request": ("requests", RequestLine),
    "early_refusal": ("early_refusals", EarlyRefusalRecord),
    "budget": ("budgets", BudgetRecord),
}
_MODELS = {
    "ledger": LedgerEntry,
    "hourly_usage": HourlyUsage,
    "request": RequestRecord,
    "early_refusal": EarlyRefusal,
    "budget": Budget,
}


def export_usage(user_id: int) -> Iterator[Record]:
    """The user's ledger entries, hourly usage, remaining records of single requests, refusals and budgets."""
    for kind, model in _MODELS.items():
        for row in rows_of(model._default_manager.filter(user_id=user_id)):
            yield kind, record_of(TYPES[kind][1], row)
