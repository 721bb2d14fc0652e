"""The admin of API keys."""

from __future__ import annotations

from typing import cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.api_keys.services import end_api_key
from accounts.models import ApiKey
from accounts.staff.pages import OfUsersAdmin, RecordAdmin, StateFilter
from accounts.staff.rights import may_touch
from edgechat.http.client_address import caller_of


@admin.register(ApiKey)
class ApiKeyAdmin(OfUsersAdmin, RecordAdmin):
    list_display = ("user", "name", "prefix", "created_at", "last_used_at", "expires_at", "ended_at", "end_reason")
    list_select_related = ("user",)
    list_filter = (StateFilter,)
    ordering = ("-created_at",)
    actions = ("end_keys",)
    fields = (
        ("user", "name"),
        ("prefix", "scopes"),
        ("created_at", "last_used_at", "expires_at"),
        ("ended_at", "end_reason"),
    )

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Ending a key is its only change."""
        return request.user.has_perm("accounts.change_apikey")

    @admin.action(description="End the chosen API keys", permissions=["end"])
    def end_keys(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        caller, actor_id, ended, refused = caller_of(request), cast(int, request.user.pk), 0, 0
        for key in queryset.select_related("user"):
            if may_touch(request, key.user):
                ended += end_api_key(
                    key_id=key.pk, user_id=key.user_id, reason="ended_by_staff", actor_id=actor_id, caller=caller
                )
            else:
                refused += 1
        self.message_user(request, f"API keys ended: {ended}.")
        if refused:
            self.message_user(request, f"API keys of other staff users, not ended: {refused}.", messages.WARNING)
