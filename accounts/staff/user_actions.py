"""Actions of staff on users: buttons on the user's page and actions of the list.

A button is a link, and a link changes nothing: it opens a confirmation page, whose form runs the action.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.enums import ActionVariant

from accounts.audit import record_event
from accounts.lifecycle.export_response import export_response
from accounts.login.sessions import end_all_sessions
from accounts.models import AuditEvent, User
from accounts.open_calls.registry import open_staff_call
from accounts.staff.exports import audited_body
from accounts.staff.pages import StaffModelAdmin
from accounts.staff.rights import may_touch
from accounts.staff.roles import change_user
from accounts.staff.sessions import require_recent_password
from edgechat.http.client_address import caller_of

CONFIRMED = "confirmed"

Act = Callable[[User], object]


class UserActions(StaffModelAdmin):
    """Each action is offered and allowed where `may_<action>(request, user)` is true.

    Without a user, `may_<action>` is true if the action may be allowed for some user.
    """

    actions: Any = ("end_sessions", "deactivate")
    actions_detail: Any = ("end_sessions", "export", "deactivate")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found = super().get_actions(request)
        return {name: value for name, value in found.items() if self.may(name, request)}

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        user = self.get_object(request, unquote(str(object_id)))
        names = self.actions_detail if user is not None else ()
        return [
            self.get_unfold_action(name)
            for name in names
            if self.may(name, request, user) and (name != "deactivate" or user.is_active)
        ]

    def may(self, name: str, request: HttpRequest, user: User | None = None) -> bool:
        """Whether the requesting user may run an action. Django's own delete action has its own rules."""
        rule = getattr(self, f"may_{name}", None)
        return rule is None or (self.has_view_permission(request, user) and bool(rule(request, user)))

    def may_end_sessions(self, request: HttpRequest, user: User | None = None) -> bool:
        allowed = request.user.has_perm("accounts.change_session")
        return allowed and (user is None or may_touch(request, user))

    def may_deactivate(self, request: HttpRequest, user: User | None = None) -> bool:
        return bool(self.has_change_permission(request, user)) and user != request.user

    def may_export(self, request: HttpRequest, user: User | None = None) -> bool:
        allowed = request.user.has_perm("accounts.export_user")
        return allowed and (user is None or may_touch(request, user))

    @action(description="End sessions", url_path="end-sessions", icon="logout")  # type: ignore[untyped-decorator]
    def end_sessions(
        self, request: HttpRequest, queryset: QuerySet[User] | None = None, object_id: str | None = None
    ) -> HttpResponseBase:
        caller = caller_of(request)

        def end(user: User) -> None:
            # Lock the user: a simultaneous login either ends with the other sessions or starts its session after them.
            User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
            ended = end_all_sessions(user_id=user.pk, reason="ended_by_staff")
            if ended:
                record_event(
                    AuditEvent.Event.SESSION_ENDED,
                    caller=caller,
                    user_id=user.pk,
                    actor_id=request.user.pk,
                    sessions=ended,
                )

        return self.ask_or_act(
            request,
            "end_sessions",
            end,
            self.chosen(request, queryset, object_id),
            title="End all sessions",
            text="They are immediately logged out of every device and of this admin.",
        )

    @action(description="Deactivate", url_path="deactivate", icon="block", variant=ActionVariant.DANGER)  # type: ignore[untyped-decorator]
    def deactivate(
        self, request: HttpRequest, queryset: QuerySet[User] | None = None, object_id: str | None = None
    ) -> HttpResponseBase:
        actor, caller = cast(User, request.user), caller_of(request)

        def deactivate(user: User) -> None:
            change_user(actor=actor, user_id=user.pk, is_active=False, role=None, caller=caller)

        return self.ask_or_act(
            request,
            "deactivate",
            deactivate,
            self.chosen(request, queryset, object_id),
            title="Deactivate",
            text="They are logged out of every device, and cannot log in until they are active again.",
        )

    @action(description="Export", url_path="export", icon="download")  # type: ignore[untyped-decorator]
    def export(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        [user] = users = self.chosen(request, None, object_id)
        if not self.may("export", request, user):
            raise PermissionDenied
        require_recent_password(request)
        if request.method != "POST":
            return self.ask(
                request,
                users,
                title="Export all data",
                text="The file contains all stored data of this user, including messages and pictures. "
                "The export is written to the audit log.",
            )
        with open_staff_call(request) as call:
            return export_response(user, lambda lines: audited_body(request, call, lines, user_id=user.pk))

    def chosen(self, request: HttpRequest, queryset: QuerySet[User] | None, object_id: str | None) -> list[User]:
        """The users that a list action was given, or the user of a page's button. Raises Http404."""
        if object_id is None:
            return list(queryset) if queryset is not None else []
        user = self.get_object(request, unquote(object_id))
        if user is None:
            raise Http404
        return [user]

    def ask_or_act(
        self,
        request: HttpRequest,
        name: str,
        act: Act,
        users: list[User],
        *,
        title: str,
        text: str,
        form: forms.Form | None = None,
    ) -> HttpResponseBase:
        """The confirmation page, or the action itself once confirmed, in one transaction for all users.

        Raises PermissionDenied.
        """
        forbidden = [str(user) for user in users if not self.may(name, request, user)]
        if forbidden and ACTION_CHECKBOX_NAME in request.POST:
            self.message_user(request, f"{title}: you may not do this to {', '.join(forbidden)}", messages.ERROR)
            return HttpResponseRedirect(self._back(request, users))
        if forbidden:
            raise PermissionDenied
        if request.method != "POST" or CONFIRMED not in request.POST or (form is not None and not form.is_valid()):
            return self.ask(request, users, title=title, text=text, form=form)
        with transaction.atomic():
            for user in users:
                act(user)
        self.message_user(request, f"{title}: done for {', '.join(str(user) for user in users)}", messages.SUCCESS)
        return HttpResponseRedirect(self._back(request, users))

    def ask(
        self, request: HttpRequest, users: list[User], *, title: str, text: str, form: forms.Form | None = None
    ) -> HttpResponse:
        """The confirmation page, for one user or for the users chosen in the list."""
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        hidden = [("action", request.POST.get("action", "")), *((ACTION_CHECKBOX_NAME, key) for key in chosen)]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "original": users[0] if len(users) == 1 else None,
            "users": users,
            "text": text,
            "form": form,
            "hidden": [*(hidden if chosen else []), (CONFIRMED, "yes")],
            "back": self._back(request, users),
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "accounts/staff_question.html", context)

    def _back(self, request: HttpRequest, users: list[User]) -> str:
        if ACTION_CHECKBOX_NAME in request.POST or not users:
            return reverse("admin:accounts_user_changelist", current_app=self.admin_site.name)
        return reverse("admin:accounts_user_change", args=[users[0].pk], current_app=self.admin_site.name)
