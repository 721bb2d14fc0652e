"""Input and output of the usage calls."""

from __future__ import annotations

from datetime import date as day
from datetime import datetime
from typing import Annotated, Any, TypedDict

from rest_framework import serializers


class DaysQuery(serializers.Serializer[Any]):
    days = serializers.IntegerField(min_value=1, max_value=366, default=30, help_text="Today is the last of them.")


class TokensUsedOutput(TypedDict):
    input: Annotated[int, "Input tokens."]
    output: Annotated[int, "Includes thinking."]
    total: Annotated[int, "Input and output tokens together."]
    last_24h: Annotated[int, "The current hour and the 24 before it."]
    last_7d: Annotated[int, "The current hour and the 168 before it."]


class QuotaOutput(TypedDict):
    limit: Annotated[int | None, "Tokens; of several budgets, the one with the least left. Null without a budget."]
    used: Annotated[int, "Tokens in the budget's month or day, UTC; without a budget, in this month."]
    remaining: Annotated[int | None, "Null without a budget."]
    resets_at: Annotated[datetime | None, "The end of the budget's month or day. Null without a budget."]


class UsageTotals(TypedDict):
    total_requests: Annotated[int, "The number of all requests."]
    requests_last_24h: Annotated[int, "The current hour and the 24 before it."]
    requests_last_7d: Annotated[int, "The current hour and the 168 before it."]
    tokens: Annotated[TokensUsedOutput, "The tokens of all calls to the model."]


class UserUsageOutput(UsageTotals):
    quota: Annotated[QuotaOutput, "What is left of the budget."]


class DayUsageOutput(TypedDict):
    date: Annotated[day, "UTC."]
    requests: Annotated[int, "The number of requests."]
    input: Annotated[int, "Input tokens."]
    output: Annotated[int, "Includes thinking."]
    total: Annotated[int, "Input and output tokens together."]


class DailyUsageOutput(TypedDict):
    days: Annotated[list[DayUsageOutput], "The days, the oldest first."]


class MemberUsageOutput(TypedDict):
    user_id: Annotated[int | None, "Null: accounts that were deleted, together."]
    email: Annotated[str | None, "The member's e-mail address; null for deleted accounts."]
    tokens: Annotated[TokensUsedOutput, "The member's tokens in this organization."]


class OrganizationUsageOutput(TypedDict):
    tokens: Annotated[TokensUsedOutput, "The tokens of all calls that are charged to the organization."]
    quota: Annotated[QuotaOutput, "What is left of the organization's budget."]
    members: Annotated[list[MemberUsageOutput], "The tokens of each member, and of former members."]
