"""The admin of users, sessions and the audit log."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import ManyToManyField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from accounts.api_keys.admin import ApiKeyAdmin
from accounts.audit import record_event
from accounts.lifecycle.deletion import delete_user
from accounts.lifecycle.extent import extent
from accounts.login.sessions import end_session
from accounts.models import AuditEvent, Organization, Session, User
from accounts.organizations.admin import OrganizationAdmin
from accounts.staff.accounts import follow_change_of_address
from accounts.staff.filters import UserFilter, is_id
from accounts.staff.forms import NewUserForm, SetPasswordForm, UserForm
from accounts.staff.pages import (
    OfUsersAdmin,
    RecordAdmin,
    StaffModelAdmin,
    StateFilter,
    organizations_matching,
    users_matching,
)
from accounts.staff.rights import is_superuser, may_touch
from accounts.staff.roles import record_activity, record_role
from accounts.staff.sessions import require_recent_password
from accounts.staff.site import password_change_watched
from accounts.staff.user_actions import UserActions
from edgechat.http.client_address import caller_of

__all__ = ["AccountAdmin", "ApiKeyAdmin", "OrganizationAdmin"]

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


class SessionInline(TabularInline):  # type: ignore[misc]
    model = Session
    fields = readonly_fields = ("device_name", "ip", "created_at", "last_used_at", "ended_at", "end_reason")
    ordering = ("-last_used_at",)
    can_delete = False
    extra = 0
    per_page = 10
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class AccountAdmin(UserActions, UserAdmin):  # type: ignore[type-arg, misc]
    """Users. Only superusers give rights, and no user changes their own rights.

    Staff who are not superusers cannot change other staff: setting a user's password or e-mail address is enough to log
    in as that user.
    """

    audited_apart = frozenset({"email", "is_active", "is_staff", "is_superuser"})
    texts_of_users = frozenset({"full_name"})
    form = UserForm
    add_form = NewUserForm
    change_password_form = SetPasswordForm
    list_display = ("email", "full_name", "id", "is_active", "is_staff", "is_verified", "created_at", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "is_verified")
    ordering = ("-id",)
    search_fields = ("email", "full_name")
    search_help_text = "E-mail, name or id"
    autocomplete_fields = ("groups",)
    filter_horizontal = ()  # Django's two boxes do not fit beside the sidebar
    inlines = (SessionInline,)
    readonly_fields = ("set_password", "created_at", "updated_at", "last_login", "deletion_requested_at")
    fieldsets = (
        (None, {"fields": ("email", "full_name", "is_active", "is_verified", "set_password")}),
        ("Rights", {"fields": RIGHTS}),
        ("Times", {"fields": ("created_at", "updated_at", "last_login", "deletion_requested_at")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "full_name", "password1", "password2")}),)

    @admin.display(description="password")
    def set_password(self, user: User) -> str:
        return format_html('<a class="underline" href="{}">Set a new password</a>', "../password/")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        if is_id(search_term.strip()):
            return queryset.filter(pk=int(search_term)), False
        return super().get_search_results(request, queryset, search_term)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name != "set_password"]})
            for title, options in fieldsets
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = list(super().get_readonly_fields(request, obj))
        if obj == request.user:
            fields += [*RIGHTS, "is_active", "is_verified"]
        elif not is_superuser(request):
            fields += RIGHTS
        return fields

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return super().get_inlines(request, obj) if obj else ()

    def formfield_for_manytomany(self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user_permissions":
            return _permissions_field(super().formfield_for_manytomany(db_field, request, **kwargs))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or may_touch(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and (obj is None or (obj != request.user and may_touch(request, obj)))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002
        require_recent_password(request)
        if not is_id(id):
            return super().user_change_password(request, id, form_url)
        if int(id) == request.user.pk:
            return HttpResponseRedirect(reverse("admin:password_change", current_app=self.admin_site.name))
        with password_change_watched(request, user_id=int(id)):
            return super().user_change_password(request, id, form_url)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        caller, actor_id = caller_of(request), cast(int, request.user.pk)
        if not change:
            super().save_model(request, obj, form, change)
            record_event(AuditEvent.Event.REGISTERED, caller=caller, user_id=obj.pk, actor_id=actor_id)
            return
        before = User.objects.select_for_update(no_key=True).filter(pk=obj.pk, deletion_requested_at=None).first()
        if before is None:
            raise PermissionDenied
        # Save only the changed columns: the user may have set a password or been deleted since the form was read.
        columns = {column.name for column in User._meta.concrete_fields}.intersection(form.changed_data)
        if "email" in columns:
            obj.is_verified = form.cleaned_data["is_verified"] = False
            obj.address_set_by_staff = True
            columns |= {"is_verified", "address_set_by_staff", "email_key"}
        obj.save(update_fields=[*columns, "updated_at"])
        if "email" in columns:
            follow_change_of_address(obj, before=before, actor_id=actor_id, caller=caller)
        if "is_active" in columns:
            record_activity(obj, caller=caller, actor_id=actor_id)
        if columns & {"is_staff", "is_superuser"}:
            record_role(obj, before=before, actor_id=actor_id, caller=caller)

    def described(self, obj: User) -> None:
        """None: the deletion writes its own audit event."""

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the users, and how much is stored for them.

        Django would load every related row and check the permission to delete each.
        """
        users = list(objs)
        lacking = {str(user) for user in users if not self.has_delete_permission(request, user)}
        lines: Any = [*map(str, users), extent("user", [user.pk for user in users])]
        return lines, {"users": len(users)}, lacking, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        # After the view's transaction commits: other stores are slow and not part of it. The user's row goes last.
        delete = partial(delete_user, user=obj, caller=caller_of(request), actor_id=request.user.pk)
        transaction.on_commit(delete)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self.delete_model(request, user)


@admin.register(Session)
class SessionAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("user", "device_name", "ip", "created_at", "last_used_at", "expires_at", "ended_at", "end_reason")
    list_select_related = ("user",)
    list_filter = (StateFilter,)
    ordering = ("-expires_at",)  # indexed; within one token lifetime, the same order as the last use
    actions = ("end_sessions",)
    fields = (
        ("user", "device_name"),
        ("ip", "user_agent"),
        ("created_at", "last_used_at", "expires_at"),
        ("ended_at", "end_reason"),
        ("generation", "used_generation"),
    )

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Ending a session is its only change."""
        return request.user.has_perm("accounts.change_session")

    @admin.action(description="End the chosen sessions", permissions=["end"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        caller, ended, refused = caller_of(request), 0, 0
        for session in queryset.select_related("user"):
            if not may_touch(request, session.user):
                refused += 1
                continue
            with transaction.atomic():
                if not end_session(session_id=session.pk, user_id=session.user_id, reason="ended_by_staff"):
                    continue
                ended += 1
                record_event(
                    AuditEvent.Event.SESSION_ENDED,
                    caller=caller,
                    user_id=session.user_id,
                    actor_id=request.user.pk,
                    session=str(session.pk),
                )
        self.message_user(request, f"Sessions ended: {ended}.")
        if refused:
            self.message_user(request, f"Sessions of other staff users, not ended: {refused}.", messages.WARNING)


@admin.register(AuditEvent)
class AuditEventAdmin(RecordAdmin):
    """The audit log. It is read-only, also for superusers."""

    list_display = ("created_at", "event", "affected_user", "actor", "organization", "ip", "request_id")
    list_filter = (UserFilter, "event", "created_at")
    ordering = ("-id",)
    search_fields = ("request_id",)
    search_help_text = "A part of a user's e-mail or an organization's name, a user's id, or a request id"
    fields = ("created_at", "event", "affected_user", "actor", "organization", "ip", "request_id", "details")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        events: QuerySet[AuditEvent] = super().get_queryset(request)
        names = Organization.objects.filter(pk=OuterRef("organization_id")).values("name")[:1]
        return events.annotate(
            user_email=_email_of("user_id"), actor_email=_email_of("actor_id"), organization_name=Subquery(names)
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        users = users_matching(term)
        of_users = Q(user_id__in=users) | Q(actor_id__in=users)
        of_organizations = Q(organization_id__in=organizations_matching(term))
        return queryset.filter(of_users | of_organizations | Q(request_id=term)), False

    @admin.display(description="affected user")
    def affected_user(self, event: AuditEvent) -> str:
        return _name(event.user_id, event.user_email)  # type: ignore[attr-defined]

    @admin.display(description="done by")
    def actor(self, event: AuditEvent) -> str:
        return _name(event.actor_id, event.actor_email)  # type: ignore[attr-defined]

    @admin.display(description="organization")
    def organization(self, event: AuditEvent) -> str:
        if event.organization_id is None:
            return "-"
        return event.organization_name or f"deleted organization {event.organization_id}"  # type: ignore[attr-defined]


admin.site.unregister(Group)


@admin.register(Group)
class RightsGroupAdmin(StaffModelAdmin, GroupAdmin):  # type: ignore[misc]
    """Groups, for superusers only: staff could give themselves rights by changing their own group."""

    filter_horizontal = ()

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        return _permissions_field(super().formfield_for_manytomany(db_field, request, **kwargs))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the groups, and how many users lose their permissions, instead of rows of the tables between them."""
        groups = list(objs)
        members = User.objects.filter(groups__in=groups).distinct().count()
        lost = f"{members:,} {'user loses' if members == 1 else 'users lose'} the permissions that they have by it"
        lacking = set() if self.has_delete_permission(request) else {"group"}
        lines: Any = [*map(str, groups), [lost]]
        return lines, {"groups": len(groups)}, lacking, []

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_superuser(request)

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission


def _permissions_field(field: Any) -> Any:
    """A permission field with search by name; the names include the application and the model."""
    field.queryset = Permission.objects.select_related("content_type")
    field.widget, field.help_text = UnfoldAdminSelect2MultipleWidget(), ""
    field.widget.choices = field.choices
    return field


def _email_of(column: str) -> Subquery:
    """The e-mail address of the user with the id in a column.

    The user may be deleted. Evaluated for displayed rows only.
    """
    return Subquery(User.objects.filter(pk=OuterRef(column)).values("email")[:1])


def _name(user_id: int | None, email: str | None) -> str:
    if user_id is None:
        return "-"
    return email or f"deleted user {user_id}"
