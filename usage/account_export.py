"""What a user's export has of this app: calls to the model, requests, and budgets."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.data_export import Record, row_fields, rows_of
from usage.models import Budget, HourlyUsage, LedgerEntry, RequestRecord

TYPES = {"ledger": "ledger", "hourly_usage": "hourly_usage", "request": "requests", "budget": "budgets"}

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "thinking_tokens")


def export_usage(user_id: int) -> Iterator[Record]:
    """The user's rows of the ledger, their hours, the single requests that are still kept, and their budgets."""
    for entry in rows_of(LedgerEntry.objects.filter(user_id=user_id)):
        fields = row_fields(entry, "id", "organization_id", "purpose", "model", "answered_by", *_TOKENS, "estimated")
        yield "ledger", {**fields, **row_fields(entry, "opened_at", "settled_at")}
    for hour in rows_of(HourlyUsage.objects.filter(user_id=user_id)):
        yield "hourly_usage", row_fields(hour, "hour", "requests", "input_tokens", "output_tokens")
    for request in rows_of(RequestRecord.objects.filter(user_id=user_id)):
        yield "request", row_fields(request, "at", "method", "route", "status", "milliseconds")
    for budget in rows_of(Budget.objects.filter(user_id=user_id)):
        yield "budget", row_fields(budget, "period", "token_limit")
