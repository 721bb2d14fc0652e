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


def export_usage(user_id: int) -> Iterator[Record]:
    """The user's ledger entries, hourly usage, remaining records of single requests, and budgets."""
    for entry in rows_of(LedgerEntry.objects.filter(user_id=user_id)):
        yield "ledger", record_of(LedgerRecord, entry)
    for hour in rows_of(HourlyUsage.objects.filter(user_id=user_id)):
        yield "hourly_usage", record_of(HourlyUsageRecord, hour)
    for request in rows_of(RequestRecord.objects.filter(user_id=user_id)):
        yield "request", record_of(RequestLine, request)
    for budget in rows_of(Budget.objects.filter(user_id=user_id)):
        yield "budget", record_of(BudgetRecord, budget)
