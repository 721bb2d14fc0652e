"""Input and output of the usage calls."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class DaysQuery(serializers.Serializer[Any]):
    days = serializers.IntegerField(min_value=1, max_value=366, default=30, help_text="Today is the last of them.")


class TokensUsedOutput(serializers.Serializer[Any]):
    input = serializers.IntegerField()
    output = serializers.IntegerField(help_text="Thinking included.")
    total = serializers.IntegerField()
    last_24h = serializers.IntegerField(help_text="The current hour and the 24 before it.")
    last_7d = serializers.IntegerField(help_text="The current hour and the 168 before it.")


class QuotaOutput(serializers.Serializer[Any]):
    limit = serializers.IntegerField(allow_null=True, help_text="Tokens; of several budgets that with the least left.")
    used = serializers.IntegerField(
        help_text="Tokens in the budget's month or day, UTC; without a budget this month's."
    )
    remaining = serializers.IntegerField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True)


class UserUsageOutput(serializers.Serializer[Any]):
    total_requests = serializers.IntegerField()
    requests_last_24h = serializers.IntegerField(help_text="The current hour and the 24 before it.")
    requests_last_7d = serializers.IntegerField(help_text="The current hour and the 168 before it.")
    tokens = TokensUsedOutput()
    quota = QuotaOutput()


class DayUsageOutput(serializers.Serializer[Any]):
    date = serializers.DateField(help_text="UTC.")
    requests = serializers.IntegerField()
    input = serializers.IntegerField()
    output = serializers.IntegerField(help_text="Thinking included.")
    total = serializers.IntegerField()


class DailyUsageOutput(serializers.Serializer[Any]):
    days = DayUsageOutput(many=True)


class MemberUsageOutput(serializers.Serializer[Any]):
    user_id = serializers.IntegerField(allow_null=True, help_text="Null: accounts that were deleted, together.")
    email = serializers.CharField(allow_null=True)
    tokens = TokensUsedOutput()


class OrganizationUsageOutput(serializers.Serializer[Any]):
    tokens = TokensUsedOutput()
    quota = QuotaOutput()
    members = MemberUsageOutput(many=True)
