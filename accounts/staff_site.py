"""The admin's site: who logs in, and changes their own password, passes the same gates as through the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import PasswordChangeView, redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django_ratelimit.core import get_usage
from unfold.sites import UnfoldAdminSite

from accounts.audit import record_event
from accounts.devices import given_tokens, remember_device
from accounts.models import AuditEvent, User
from accounts.sessions import end_all_sessions
from accounts.staff_accounts import tell_of_new_password
from accounts.staff_forms import OwnPasswordForm, StaffLoginForm
from edgechat.client_address import caller_of, limit_key
from edgechat.errors import RateLimited


class StaffSite(UnfoldAdminSite):  # type: ignore[misc]
    login_form = StaffLoginForm
    index_template = "edgechat/staff_index.html"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST":
            _limit_logins(request)
        elif REDIRECT_FIELD_NAME not in request.GET:
            # Unfold's page sends its form to its own address, and forgets where to go after that.
            return redirect_to_login(reverse(f"{self.name}:index", current_app=self.name), request.path)
        response: HttpResponse = super().login(request, extra_context)
        if request.method == "POST" and isinstance(request.user, User):
            remember_device(response, request.user, given_tokens(request))
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        request.current_app = self.name
        view = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse(f"{self.name}:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        with password_change_watched(request, user_id=cast(User, request.user).pk):
            response = view(request)
        if request.method == "POST":  # the new password ended what the old one had made known
            remember_device(response, cast(User, request.user), given_tokens(request))
        return response


@contextmanager
def password_change_watched(request: HttpRequest, *, user_id: int) -> Iterator[None]:
    """If the user's password changes in this block, end the user's sessions and write it to the audit log."""
    passwords = User.objects.filter(pk=user_id).values_list("password", flat=True)
    with transaction.atomic():
        before = passwords.select_for_update().first()
        yield
        if passwords.first() != before:
            end_all_sessions(user_id=user_id, reason="password_changed")
            record_event(
                AuditEvent.Event.PASSWORD_CHANGED,
                caller=caller_of(request),
                user_id=user_id,
                actor_id=request.user.pk,
            )
            if user_id != request.user.pk:
                tell_of_new_password(User.objects.get(pk=user_id))


def _limit_logins(request: HttpRequest) -> None:
    """AUTH_RATE_LIMIT, as for the API's login. Raises RateLimited; passes while Redis is down."""
    usage = get_usage(
        request,
        group="accounts.staff_site.login",
        key=_address_key,
        rate=settings.AUTH_RATE_LIMIT,
        increment=True,
    )
    if usage is not None and usage["should_limit"]:
        raise RateLimited(retry_after=usage["time_left"])


def _address_key(group: str, request: HttpRequest) -> str:
    return limit_key(caller_of(request).address)
