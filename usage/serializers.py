"""Output of the usage calls."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class TokensUsedOutput(serializers.Serializer[Any]):
    input = serializers.IntegerField()
    output = serializers.IntegerField(help_text="Thinking included.")
    total = serializers.IntegerField()
    last_24h = serializers.IntegerField()
    last_7d = serializers.IntegerField()


class QuotaOutput(serializers.Serializer[Any]):
    limit = serializers.IntegerField(allow_null=True)
    used = serializers.IntegerField(help_text="Tokens in this calendar month, UTC.")
    remaining = serializers.IntegerField(allow_null=True)
    resets_at = serializers.DateTimeField(allow_null=True)


class UserUsageOutput(serializers.Serializer[Any]):
    total_requests = serializers.IntegerField()
    requests_last_24h = serializers.IntegerField(help_text="The current hour and the 24 before it.")
    requests_last_7d = serializers.IntegerField(help_text="The current hour and the 168 before it.")
    tokens = TokensUsedOutput()
    quota = QuotaOutput()
