"""Input and output of the API key calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict
from uuid import UUID

from django.utils import timezone
from rest_framework import serializers

from accounts.models import ApiKey
from edgechat.http.bodies import Keywords
from edgechat.http.validation import BoundedListField

ScopeName = Annotated[str, Keywords(enum=ApiKey.Scope.values)]


class ApiKeyInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, help_text="A name to tell the keys apart.")
    scopes = BoundedListField(
        child=serializers.ChoiceField(choices=ApiKey.Scope.values),
        max_length=20,
        allow_empty=False,
        allow_null=True,
        default=ApiKey.Scope.values,
        help_text="`ai`: the calls below `/ai` and `/openai`. `chat`: those below `/chat`.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Absent or null: never.")

    def validate_scopes(self, value: list[str] | None) -> list[str]:
        return sorted(set(value or ApiKey.Scope.values))

    def validate_expires_at(self, value: datetime | None) -> datetime | None:
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError("Must be in the future.")
        return value


class ApiKeyOutput(TypedDict):
    id: Annotated[UUID, "The key's id. It is no secret."]
    name: Annotated[str, "The name given at its creation."]
    prefix: Annotated[str, "The beginning of the key."]
    scopes: Annotated[list[ScopeName], "The calls on which the key is accepted."]
    created_at: Annotated[datetime, "When the key was created."]
    expires_at: Annotated[datetime | None, "Null for a key that does not expire."]
    last_used_at: Annotated[datetime | None, "With a precision of one minute; null for a key that was never used."]


class NewApiKeyOutput(ApiKeyOutput):
    key: Annotated[str, "The key, shown only in this answer."]


class ApiKeysOutput(TypedDict):
    api_keys: Annotated[list[ApiKeyOutput], "The keys, the newest first."]


def api_key_body(key: ApiKey) -> ApiKeyOutput:
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }
