"""Input and output of the usage calls."""

from __future__ import annotations

from datetime import date as day
from datetime import datetime
from typing import Annotated, Any, TypedDict

from rest_framework import serializers


class DaysQuery(serializers.Serializer[Any]):
    days = serializers.IntegerField(min_value=1, max_value=366, default=30, help_text="Today is the last of them.")


class TokensUsedOutput(TypedDict):
    input: int
    output: Annotated[int, "Includes thinking."]
    total: int
    last_24h: Annotated[int, "The current hour and the 24 before it."]
    last_7d: Annotated[int, "The current hour and the 168 before it."]


class QuotaOutput(TypedDict):
    limit: Annotated[int | None, "Tokens; of several budgets, the one with the least left. Null without a budget."]
    used: Annotated[int, "Tokens in the budget's month or day, UTC; without a budget, in this month."]
    remaining: Annotated[int | None, "Null without a budget."]
    resets_at: Annotated[datetime | None, "The end of the budget's month or day. Null without a budget."]


class UsageTotals(TypedDict):
    total_requests: int
    requests_last_24h: Annotated[int, "The current hour and the 24 before it."]
    requests_last_7d: Annotated[int, "The current hour and the 168 before it."]
    tokens: TokensUsedOutput


class UserUsageOutput(UsageTotals):
    quota: QuotaOutput


class DayUsageOutput(TypedDict):
    date: Annotated[day, "UTC."]
    requests: int
    input: int
    output: Annotated[int, "Includes thinking."]
    total: int


class DailyUsageOutput(TypedDict):
    days: list[DayUsageOutput]


class MemberUsageOutput(TypedDict):
    user_id: Annotated[int | None, "Null: accounts that were deleted, together."]
    email: str | None
    tokens: TokensUsedOutput


class OrganizationUsageOutput(TypedDict):
    tokens: TokensUsedOutput
    quota: QuotaOutput
    members: list[MemberUsageOutput]
