"""Input and output of the account calls. Input and output are separate classes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict
from uuid import UUID

from rest_framework import serializers
from rest_framework.fields import empty

from accounts.addresses import refuse_incomparable, refuse_unnamed_domain
from accounts.login.devices import MAX_TOKEN
from accounts.login.passwords import MAX_PASSWORD, MAX_TYPED, MIN_PASSWORD, normalized
from accounts.models import Session, User
from edgechat.http.bodies import Keywords


class NullIsAbsent(serializers.CharField):
    """A text for which null is the same as absent where it is optional: mobile clients write absent values as null."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return super().validate_empty_values(empty if data is None and not self.required else data)


class OptionalTextField(NullIsAbsent):
    """A text that may be absent, null or empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_blank=True, allow_null=True, default="", **kwargs)


class PasswordField(NullIsAbsent):
    """8 to 128 characters of any kind, including spaces at both ends. Counted and returned in Unicode form NFKC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return normalized(super().to_internal_value(data))


class GivenPasswordField(NullIsAbsent):
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


class NewCredentialsInput(serializers.Serializer[Any]):
    email = NewEmailField(help_text="The address of the new account. It is unique, whatever the case of its letters.")
    password = PasswordField(help_text="8 to 128 characters of any kind. In production, common passwords are refused.")


class SignupInput(NewCredentialsInput):
    full_name = OptionalTextField(max_length=255, help_text="The user's name; absent, null or empty for none.")


class RegisterInput(SignupInput):
    device_name = OptionalTextField(max_length=100, help_text="The name of the device, shown in the list of sessions.")


class CredentialsInput(serializers.Serializer[Any]):
    # Any text: the format of an address must not decide between 401 and 422, because older clients send stored values.
    email = serializers.CharField(max_length=254, help_text="The address of the account, in any case.")
    password = GivenPasswordField(help_text="The password of the account.")
    device_token = OptionalTextField(
        max_length=MAX_TOKEN,
        help_text="The `device_token` of the last login on this device. Failed logins elsewhere do not lock it out. "
        "An invalid token counts as no token.",
    )


class LoginInput(CredentialsInput):
    device_name = OptionalTextField(max_length=100, help_text="The name of the device, shown in the list of sessions.")


class RefreshInput(serializers.Serializer[Any]):
    refresh_token = serializers.CharField(max_length=4096, help_text="The latest refresh token of the session.")


class ProfileInput(serializers.Serializer[Any]):
    full_name = serializers.CharField(
        max_length=255, required=False, allow_blank=True, allow_null=True, help_text="Null or empty for none."
    )
    password = PasswordField(
        required=False,
        allow_null=True,
        help_text="The new password: 8 to 128 characters of any kind. Null or absent: no change.",
    )
    current_password = GivenPasswordField(
        required=False,
        allow_null=True,
        help_text="The password so far. Needed for a new one if the last login is more than 15 minutes ago.",
    )


TokenType = Annotated[str, "Always `bearer`."]
DeviceToken = Annotated[str, "A token to keep and to send with the next login of this account."]


class TokensOutput(TypedDict):
    access_token: Annotated[str, "The access token (a JWT), to be sent as `Authorization: Bearer`."]
    refresh_token: Annotated[str, "The refresh token (a JWT), for the next pair. It is used once."]
    token_type: TokenType
    expires_in: Annotated[int, "Seconds until the access token expires."]


class LoginOutput(TokensOutput):
    device_token: DeviceToken


class IdentityOutput(TypedDict):
    id: Annotated[int, "The user's id."]
    email: Annotated[str, "The user's e-mail address, as typed at the registration."]


class UserOutput(TypedDict):
    id: Annotated[int, "The user's id."]
    email: Annotated[str, "The e-mail address, as typed at the registration."]
    full_name: Annotated[str | None, "The user's name; null without one."]
    is_active: Annotated[bool, "Whether the user can log in."]
    is_verified: Annotated[bool, "Whether the e-mail address is verified."]
    role: Annotated[str, Keywords(enum=["user", "admin"]), "`admin` for staff, else `user`."]
    created_at: Annotated[datetime, "When the account was created."]
    updated_at: Annotated[datetime, "When the account was last changed."]


class ProfileOutput(UserOutput):
    device_token: NotRequired[Annotated[str, "Present only after a change of the password."]]


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


class LogoutOutput(TypedDict):
    message: Annotated[str, "What was done, for people."]


LOGGED_OUT: LogoutOutput = {"message": "Successfully logged out"}


class LogoutAllOutput(LogoutOutput):
    sessions_ended: Annotated[int, "The number of sessions that have ended, this one included."]


class SessionOutput(TypedDict):
    id: Annotated[UUID, "The session's id."]
    device_name: Annotated[str | None, "The name given at the login."]
    user_agent: Annotated[str | None, "The header `User-Agent` at the login."]
    ip: Annotated[str | None, "The client's address at the login."]
    created_at: Annotated[datetime, "When the user logged in."]
    last_used_at: Annotated[datetime, "With a precision of one minute."]
    current: Annotated[bool, "Whether it is the session of this call."]


class SessionsOutput(TypedDict):
    sessions: Annotated[list[SessionOutput], "The live sessions, the latest used first."]


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
