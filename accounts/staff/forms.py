"""The admin's forms for users and passwords."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.forms import AdminOwnPasswordChangeForm, AdminPasswordChangeForm, AuthenticationForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts.addresses import refuse_incomparable
from accounts.login.devices import given_tokens
from accounts.login.passwords import MAX_TYPED, refuse_length
from accounts.models import User
from accounts.services import InvalidCredentials, authenticate_user
from accounts.staff.sessions import reauthenticate
from edgechat.errors import ApiError
from edgechat.http.client_address import caller_of


class StaffLoginForm(AuthenticationForm):  # type: ignore[misc]
    """E-mail and password, checked like a login to the API: with its audit events, and in another thread."""

    def clean(self) -> dict[str, Any]:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            try:
                self.user_cache = authenticate_user(
                    email=email,
                    password=password,
                    caller=caller_of(self.request),
                    device_tokens=given_tokens(self.request),
                    for_admin=True,
                )
            except InvalidCredentials:
                raise self.get_invalid_login_error() from None
            except ApiError as error:
                raise ValidationError(error.detail) from None
            self.confirm_login_allowed(self.user_cache)
        return dict(self.cleaned_data)


class ConfirmPasswordForm(forms.Form):
    """Asks the logged-in user for the password again."""

    password = forms.CharField(
        max_length=MAX_TYPED,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": True}),
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        try:
            reauthenticate(self.request, password)
        except InvalidCredentials:
            raise ValidationError("This is not your password.") from None
        except ApiError as error:
            raise ValidationError(error.detail) from None
        return password


class _FreeEmail(forms.ModelForm):  # type: ignore[type-arg]
    """Reports a duplicate e-mail address, in any spelling, at the field instead of as a database error."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip()
        if "email" in self.changed_data:
            refuse_incomparable(email)
        holder = User.objects.with_email(email)
        if holder is not None and holder.pk != self.instance.pk:
            raise ValidationError("There is a user with this e-mail address already.", code="unique")
        return email


class UserForm(_FreeEmail):
    """Changes a user. The password has its own form, and no form shows its hash."""

    class Meta:
        model = User
        fields = ("email", "full_name", "is_active", "is_staff", "is_verified")


class NewUserForm(_FreeEmail, UserCreationForm):  # type: ignore[misc]
    usable_password = None

    class Meta:
        model = User
        fields = ("email", "full_name")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _bound_length(self.fields["password1"])
        for name in ("password1", "password2"):
            self.fields[name].required = True


class SetPasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]
    """A new password for another user. Every account has a password; `active` is the way to block an account."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.fields.pop("usable_password", None)
        _bound_length(self.fields["password1"])


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]
    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        _bound_length(self.fields["new_password1"])


def _bound_length(field: forms.Field) -> None:
    field.validators.append(refuse_length)
