"""Organizations and who is in them, for staff."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.admin import TabularInline

from accounts.models import Membership, Organization
from edgechat.admin_pages import StaffModelAdmin


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Membership
        fields = ("user", "invited_email", "role")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors and not (self.cleaned_data.get("user") or self.cleaned_data.get("invited_email")):
            raise ValidationError("Choose a user, or write the e-mail of somebody to invite.")
        return cleaned


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    form = MembershipForm
    autocomplete_fields = ("user",)
    fields = ("user", "invited_email", "role", "status")
    readonly_fields = ("status",)
    extra = 0
    per_page = 10
    hide_title = True

    @admin.display(description="status")
    def status(self, membership: Membership) -> str:
        if membership.pk is None:
            return "-"
        return "invited" if membership.user_id is None else "active"


@admin.register(Organization)
class OrganizationAdmin(StaffModelAdmin):
    list_display = ("name", "id", "created_at")
    search_fields = ("name",)
    ordering = ("-id",)
    readonly_fields = ("created_at",)
    inlines: Any = (MembershipInline,)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """The organizations alone. Django would ask for the right to delete what was summed up of them, too, which
        nobody has."""
        organizations = [str(organization) for organization in objs]
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return organizations, {str(self.opts.verbose_name_plural): len(organizations)}, lacking, []
