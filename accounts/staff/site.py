"""The admin site. Logins and password changes pass the same checks as in the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import PasswordChangeView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import InvalidPage
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.sites import UnfoldAdminSite

from accounts.api_keys.services import end_all_api_keys
from accounts.audit import record_event
from accounts.login.devices import given_tokens, issue_device_token
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, User
from accounts.services import REAUTHENTICATION_WINDOW
from accounts.staff.accounts import notify_of_new_password
from accounts.staff.forms import ConfirmPasswordForm, OwnPasswordForm, StaffLoginForm
from accounts.staff.queries import whom_to_ask
from accounts.staff.sessions import PasswordNeeded, session_of
from edgechat.errors import RateLimited
from edgechat.http.client_address import caller_of
from edgechat.http.rate_limit import seconds_to_wait_for


class StaffSite(UnfoldAdminSite):  # type: ignore[misc]
    login_form = StaffLoginForm
    index_template = "edgechat/staff_index.html"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST":
            _limit_logins(request)
        elif REDIRECT_FIELD_NAME not in request.GET:
            # Unfold's login form posts to its own address and loses the page to return to.
            return redirect_to_login(reverse(f"{self.name}:index", current_app=self.name), request.path)
        response: HttpResponse = super().login(request, extra_context)
        if request.method == "POST" and isinstance(request.user, User):
            issue_device_token(request.user, given_tokens(request)).set_cookie(response)
        return response

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """A page of the admin, which may ask for the password again. Its refusals are pages of the admin, too."""

        @wraps(view)
        def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                answer: HttpResponseBase = view(request, *args, **kwargs)
            except PasswordNeeded:
                if request.method == "POST":
                    text = "Nothing was done yet: after your password, please send the form once more."
                    messages.warning(request, text)
                return redirect_to_login(request.get_full_path(), reverse(f"{self.name}:confirm_password"))
            except PermissionDenied:
                return self.refusal(request, 403, "Not allowed", f"You may not do this. {whom_to_ask()}")
            except DisallowedModelAdminLookup:
                return self.refusal(request, 400, "No such filter", "The list has no filter of this name.")
            except Http404:
                return self.refusal(request, 404, "Not found", "There is no such page, or what it showed is gone.")
            return answer

        return super().admin_view(page, cacheable)

    def refusal(self, request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
        """A page with one sentence in place of what was asked for."""
        request.current_app = self.name
        context = {**self.each_context(request), "title": title, "text": text}
        return TemplateResponse(request, "edgechat/staff_refusal.html", context, status=status)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.get_app_list(request):
            return self.refusal(request, 200, "Nothing to see yet", f"You have no permission so far. {whom_to_ask()}")
        found: HttpResponse = super().index(request, extra_context)
        return found

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The sidebar, with one active entry: the page itself, or the one that is nearest above it.

        Unfold takes every entry whose address is the beginning of the page's.
        """
        groups: list[dict[str, Any]] = super().get_sidebar_list(request)
        active = [item for group in groups for item in group["items"] if item["active"]]
        nearest = max((str(item["link"]) for item in active), key=len, default="")
        for item in active:
            item["active"] = str(item["link"]) == nearest
        return groups

    def extra_urls(self) -> list[URLPattern]:
        return [path("confirm-password/", self.admin_view(self.confirm_password), name="confirm_password")]

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            found: HttpResponse = super().search(request, extra_context)
        except (ValueError, InvalidPage):  # Unfold does not validate the page number
            raise Http404 from None
        return found

    def confirm_password(self, request: HttpRequest) -> HttpResponseBase:
        """Ask the logged-in user for the password, then redirect to `next`."""
        index = reverse(f"{self.name}:index", current_app=self.name)
        wanted = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
        inside = wanted.startswith(index) and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
        target = wanted if inside else index
        if request.method == "POST":
            _limit_logins(request)
        form = ConfirmPasswordForm(request, request.POST if request.method == "POST" else None)
        if form.is_valid():
            return HttpResponseRedirect(target)
        minutes = REAUTHENTICATION_WINDOW // timedelta(minutes=1)
        request.current_app = self.name
        context = {
            **self.each_context(request),
            "title": "Your password, please",
            "text": "Before something is deleted, exported or read here, and before a password is set, the admin asks "
            f"for your password again if you gave it more than {minutes} minutes ago.",
            "form": form,
            "next": target,
            "back": index,
        }
        return TemplateResponse(request, "accounts/confirm_password.html", context)

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        request.current_app = self.name
        view = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse(f"{self.name}:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        with password_change_watched(request, user_id=cast(User, request.user).pk):
            response = view(request)
        if request.method == "POST":  # the new password invalidated the device token
            issue_device_token(cast(User, request.user), given_tokens(request)).set_cookie(response)
        return response


def show_way(request: HttpRequest, *parts: tuple[str, str]) -> None:
    """Show these titles and addresses above the page; an empty address is no link."""
    request.breadcrumbs = [{"title": title, "link": link} for title, link in parts]  # type: ignore[attr-defined]


@contextmanager
def password_change_watched(request: HttpRequest, *, user_id: int) -> Iterator[None]:
    """If the user's password changes in this block, end the user's sessions and API keys and write to the audit log."""
    passwords = User.objects.filter(pk=user_id).values_list("password", flat=True)
    with transaction.atomic():
        before = passwords.select_for_update().first()
        yield
        if passwords.first() != before:
            # Users who change their own password stay logged in here.
            own = session_of(request) if user_id == request.user.pk else None
            by: dict[str, Any] = {"caller": caller_of(request), "user_id": user_id, "actor_id": request.user.pk}
            end_all_sessions(user_id=user_id, reason="password_changed", but=None if own is None else own.pk)
            end_all_api_keys(reason="password_changed", **by)
            record_event(AuditEvent.Event.PASSWORD_CHANGED, **by)
            if user_id != request.user.pk:
                notify_of_new_password(User.objects.get(pk=user_id))


def _limit_logins(request: HttpRequest) -> None:
    """Apply AUTH_RATE_LIMIT, as for the API's login. Raises RateLimited; no limit while Redis is down."""
    wait = seconds_to_wait_for(request, "accounts.staff.site.login")
    if wait is not None:
        raise RateLimited(retry_after=wait)
