"""Input and output of the account calls; input and output are separate classes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.addresses import refuse_incomparable, refuse_unnamed_domain
from accounts.devices import MAX_TOKEN
from accounts.models import User
from accounts.passwords import MAX_PASSWORD, MAX_TYPED, MIN_PASSWORD, normalized


class PasswordField(serializers.CharField):
    """8 to 128 characters of any kind, spaces at the ends included, counted in Unicode's form NFKC; in that form."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        return normalized(super().to_internal_value(data))


class GivenPasswordField(serializers.CharField):
    """A password to be compared, not chosen: any that could have been chosen under older rules too."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=MAX_TYPED, **kwargs)


class NewEmailField(serializers.EmailField):
    """Of an account or an invitation that is made now; older ones may have any address."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=254, **kwargs)
        self.validators.append(refuse_unnamed_domain)

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)
        refuse_incomparable(value)  # of what is an address at all


class DeviceTokenField(serializers.CharField):
    """Anything: one that is not good is none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=MAX_TOKEN,
            required=False,
            allow_blank=True,
            default="",
            help_text="What the last login on this device answered: others' failed logins do not lock it then.",
            **kwargs,
        )


class RegisterInput(serializers.Serializer[Any]):
    email = NewEmailField()
    password = PasswordField()
    full_name = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")
    device_name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(without_nulls(data, "full_name", "device_name"))


class LoginInput(serializers.Serializer[Any]):
    # Any text: whether it could be an address must not decide between 401 and 422 for older clients' stored values.
    email = serializers.CharField(max_length=254)
    password = GivenPasswordField()
    device_name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
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


class TokensOutput(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    token_type = serializers.CharField(help_text="Always `bearer`.")
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")


class LoginOutput(TokensOutput):
    device_token = serializers.CharField(help_text="To be kept, and sent with the next login of this account.")


class IdentityOutput(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "email")


class UserOutput(serializers.ModelSerializer[User]):
    full_name = serializers.SerializerMethodField()
    role = serializers.ChoiceField(choices=["user", "admin"])

    class Meta:
        model = User
        fields = ("id", "email", "full_name", "is_active", "is_verified", "role", "created_at", "updated_at")

    def get_full_name(self, user: User) -> str | None:
        return user.full_name or None


class ProfileOutput(UserOutput):
    device_token = serializers.CharField(required=False, help_text="After a change of the password only.")

    class Meta(UserOutput.Meta):
        fields = (*UserOutput.Meta.fields, "device_token")  # type: ignore[assignment]


def without_nulls(data: Any, *optional: str) -> Any:
    """JSON null for an optional field means that it was not given, as mobile clients serialize it."""
    if not isinstance(data, dict):
        return data
    return {name: value for name, value in data.items() if value is not None or name not in optional}
