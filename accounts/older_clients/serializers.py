"""Bodies of the calls that only clients of the older backends make."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from rest_framework import serializers

from accounts.serializers import (
    DeviceTokenField,
    GivenPasswordField,
    NewEmailField,
    PasswordField,
    UserOutput,
    without_nulls,
)


class CredentialsInput(serializers.Serializer[Any]):
    email = serializers.CharField(max_length=254)  # any text, as in LoginInput
    password = GivenPasswordField()
    device_token = DeviceTokenField()

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(without_nulls(data, "device_token"))


class NewCredentialsInput(serializers.Serializer[Any]):
    email = NewEmailField()
    password = PasswordField()


class SignupInput(NewCredentialsInput):
    full_name = serializers.CharField(max_length=255, required=False, allow_blank=True, allow_null=True, default="")

    def validate_full_name(self, value: str | None) -> str:
        return value or ""


class SignupOutput(TypedDict):
    user: UserOutput
    message: str


class AccessTokenOutput(TypedDict):
    access_token: str
    token_type: Annotated[str, "Always `bearer`."]


class SigninOutput(AccessTokenOutput):
    user: UserOutput
    refresh_token: str
    device_token: Annotated[str, "Keep it, and send it with the next login of this account."]
