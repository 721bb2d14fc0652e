"""This app's part of a user's export: calls to the model, requests and budgets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypedDict

from accounts.lifecycle.data_export import Record, record_of, rows_of
from usage.models import Budget, HourlyUsage, LedgerEntry, RequestRecord


class LedgerRecord(TypedDict):
    id: int
    organization_id: int | None
    purpose: str
    model: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    thinking_tokens: int
    estimated: bool
    opened_at: datetime
    settled_at: datetime | None


class HourlyUsageRecord(TypedDict):
    hour: datetime
    requests: int
    input_tokens: int
    output_tokens: int


class RequestLine(TypedDict):
    at: datetime
    method: str
    route: str
    status: int
    milliseconds: int


class BudgetRecord(TypedDict):
    period: str
    token_limit: int | None


TYPES = {
    "ledger": ("ledger", LedgerRecord),
    "hourly_usage": ("hourly_usage", HourlyUsageRecord),
    "request": ("requests", RequestLine),
    "budget": ("budgets", BudgetRecord),
}
_MODELS = {"ledger": LedgerEntry, "hourly_usage": HourlyUsage, "request": RequestRecord, "budget": Budget}


def export_usage(user_id: int) -> Iterator[Record]:
    """The user's ledger entries, hourly usage, remaining records of single requests, and budgets."""
    for kind, model in _MODELS.items():
        for row in rows_of(model._default_manager.filter(user_id=user_id)):
            yield kind, record_of(TYPES[kind][1], row)
