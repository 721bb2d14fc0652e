"""The admin of organizations and memberships."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.admin import TabularInline

from accounts.addresses import email_key, refuse_incomparable
from accounts.lifecycle.extent import extent
from accounts.models import Membership, Organization, User
from accounts.staff.audit import MAX_KEYS, values_of
from accounts.staff.filters import MemberFilter
from accounts.staff.pages import StaffModelAdmin


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    staff: User

    class Meta:
        model = Membership
        fields = ("user", "invited_email", "role")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.changed_data and self._is_own_membership():
            raise ValidationError("Nobody adds themselves to an organization, or changes their own role in it.")
        if not self.errors and not (self.cleaned_data.get("user") or self.cleaned_data.get("invited_email")):
            raise ValidationError("Choose a user, or write the e-mail of somebody to invite.")
        if "invited_email" in self.changed_data:
            # Staff who invite an address must not accept the invitation themselves, whichever address they have later.
            self.instance.invited_by = self.staff
        self._refuse_invited_twice()
        return cleaned

    def clean_invited_email(self) -> str:
        email: str = self.cleaned_data["invited_email"]
        if "invited_email" in self.changed_data and email:
            refuse_incomparable(email)
        return email

    def _refuse_invited_twice(self) -> None:
        email, organization = self.cleaned_data.get("invited_email"), self.cleaned_data.get("organization")
        if email and organization is not None and organization.pk and not self.cleaned_data.get("user"):
            others = Membership.objects.filter(organization=organization, user=None).exclude(pk=self.instance.pk)
            if others.filter(invited_email_key=email_key(email)).exists():
                raise ValidationError("This address is already invited.")

    def _is_own_membership(self) -> bool:
        user, email = self.cleaned_data.get("user"), self.cleaned_data.get("invited_email")
        invited = User.objects.with_email(email) if email else None
        # The previous member counts too: staff must not give their own membership to another user.
        return self.staff.pk in (getattr(user, "pk", None), getattr(invited, "pk", None), self.instance.user_id)


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    form = MembershipForm
    autocomplete_fields = ("user",)
    fields = ("user", "invited_email", "role", "status")
    readonly_fields = ("status",)
    extra = 0
    per_page = 10
    hide_title = True

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.form.staff = request.user  # this class exists for one request only
        return formset

    @admin.display(description="status")
    def status(self, membership: Membership) -> str:
        if membership.pk is None:
            return "-"
        return "invited" if membership.user_id is None else "active"


@admin.register(Organization)
class OrganizationAdmin(StaffModelAdmin):
    list_display = ("name", "id", "created_at")
    search_fields = ("name",)
    list_filter = (MemberFilter,)
    ordering = ("-id",)
    readonly_fields = ("created_at",)
    inlines: Any = (MembershipInline,)

    def described(self, obj: Organization) -> dict[str, Any]:
        """Includes the members, because their memberships are deleted too."""
        members = obj.memberships.values_list("user_id", "role")[:MAX_KEYS]
        return {**values_of(obj), "members": [{"user": user_id, "role": role} for user_id, role in members]}

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """List the organizations, and how much is stored for them.

        Django would check the permission to delete their usage sums, which no user has.
        """
        organizations = list(objs)
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        lines: Any = [*map(str, organizations), extent("organization", [each.pk for each in organizations])]
        return lines, {str(self.opts.verbose_name_plural): len(organizations)}, lacking, []
