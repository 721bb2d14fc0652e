"""Input and output of the account calls. Input and output are separate classes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict
from uuid import UUID

from rest_framework import serializers

from accounts.addresses import refuse_incomparable, refuse_unnamed_domain
from accounts.login.devices import MAX_TOKEN
from accounts.login.passwords import MAX_PASSWORD, MAX_TYPED, MIN_PASSWORD, normalized
from accounts.models import Session, User
from edgechat.http.bodies import Keywords


class PasswordField(serializers.CharField):
    """8 to 128 characters of any kind, including spaces at both ends. Counted and returned in Unicode form NFKC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return normalized(super().to_internal_value(data))


class GivenPasswordField(serializers.CharField):
    """A password to compare, not a new one: it may be one that only older rules allowed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=MAX_TYPED, **kwargs)


class NewEmailField(serializers.EmailField):
    """The address of a new account or invitation. Existing ones may have any address."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)
        self.validators.append(refuse_unnamed_domain)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)
        refuse_incomparable(value)  # only if it is a valid address


class DeviceTokenField(serializers.CharField):
    """Any text. An invalid token counts as no token."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=MAX_TOKEN,
            required=False,
            allow_blank=True,
            allow_null=True,
            default="",
            help_text="From the last login on this device: failed logins of other clients then do not lock it out.",
            **kwargs,
        )


class RegisterInput(serializers.Serializer[Any]):
    email = NewEmailField()
    password = PasswordField()
    full_name = serializers.CharField(max_length=255, required=False, allow_blank=True, allow_null=True, default="")
    device_name = serializers.CharField(max_length=100, required=False, allow_blank=True, allow_null=True, default="")

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(without_nulls(data, "full_name", "device_name"))


class LoginInput(serializers.Serializer[Any]):
    # Any text: the format of an address must not decide between 401 and 422, because older clients send stored values.
    email = serializers.CharField(max_length=254)
    password = GivenPasswordField()
    device_name = serializers.CharField(max_length=100, required=False, allow_blank=True, allow_null=True, default="")
    device_token = DeviceTokenField()

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(without_nulls(data, "device_name", "device_token"))


class RefreshInput(serializers.Serializer[Any]):
    refresh_token = serializers.CharField(max_length=4096)


class ProfileInput(serializers.Serializer[Any]):
    full_name = serializers.CharField(
        max_length=255, required=False, allow_blank=True, allow_null=True, help_text="Null or empty for none."
    )
    password = PasswordField(required=False, allow_null=True)
    current_password = GivenPasswordField(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(without_nulls(data, "password", "current_password"))


class TokensOutput(TypedDict):
    access_token: str
    refresh_token: str
    token_type: Annotated[str, "Always `bearer`."]
    expires_in: Annotated[int, "Seconds until the access token expires."]


class LoginOutput(TokensOutput):
    device_token: Annotated[str, "Keep it, and send it with the next login of this account."]


class IdentityOutput(TypedDict):
    id: int
    email: str


class UserOutput(TypedDict):
    id: int
    email: str
    full_name: str | None
    is_active: bool
    is_verified: bool
    role: Annotated[str, Keywords(enum=["user", "admin"])]
    created_at: datetime
    updated_at: datetime


class ProfileOutput(UserOutput):
    device_token: NotRequired[Annotated[str, "After a change of the password only."]]


def user_body(user: User) -> UserOutput:
    return {
        "id": user.pk,
        "email": user.email,
        "full_name": user.full_name or None,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
        "role": user.role,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def without_nulls(data: Any, *optional: str) -> Any:
    """Remove nulls of optional fields: mobile clients serialize an absent value as null."""
    if not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if value is not None or name not in optional}


class LogoutOutput(TypedDict):
    message: str


LOGGED_OUT: LogoutOutput = {"message": "Successfully logged out"}


class LogoutAllOutput(LogoutOutput):
    sessions_ended: int


class SessionOutput(TypedDict):
    id: UUID
    device_name: Annotated[str | None, "The name given at the login."]
    user_agent: str | None
    ip: Annotated[str | None, "The client's address at the login."]
    created_at: datetime
    last_used_at: Annotated[datetime, "With a precision of one minute."]
    current: Annotated[bool, "Whether it is the session of this call."]


class SessionsOutput(TypedDict):
    sessions: list[SessionOutput]


def session_body(session: Session, *, current: Session) -> SessionOutput:
    return {
        "id": session.pk,
        "device_name": session.device_name or None,
        "user_agent": session.user_agent or None,
        "ip": session.ip,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "current": session.pk == current.pk,
    }
