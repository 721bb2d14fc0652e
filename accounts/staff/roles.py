"""Changes by staff to other accounts. The admin follows the same rules (accounts.admin)."""

from __future__ import annotations

from typing import Any, Literal

from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from accounts.api_keys.services import end_all_api_keys
from accounts.audit import record_event
from accounts.login.sessions import end_admin_sessions, end_all_sessions
from accounts.models import AuditEvent, User
from accounts.open_calls.endings import announce_end, user_subject
from accounts.staff.queries import require_staff
from edgechat.errors import NotFound, PermissionDenied
from edgechat.http.client_address import Caller

Role = Literal["user", "admin", "superuser"]


def change_user(
    *, actor: User, user_id: int, is_active: bool | None, role: Literal["user", "admin"] | None, caller: Caller
) -> User:
    """Change another account. An argument of None leaves its field unchanged.

    Raises NotFound. Raises PermissionDenied: staff who are not superusers cannot change roles or other staff, and users
    cannot change themselves.
    """
    require_staff(actor)
    with transaction.atomic():
        user = User.objects.select_for_update(no_key=True).filter(pk=user_id, deletion_requested_at=None).first()
        if user is None:
            raise NotFound
        if role is not None and not actor.is_superuser:
            raise PermissionDenied("Only superusers change roles")
        if (role is not None or is_active is not None) and user.pk == actor.pk:
            raise PermissionDenied("Nobody changes their own role, or shuts themselves out")
        if is_active is not None and (user.is_staff or user.is_superuser) and not actor.is_superuser:
            raise PermissionDenied("Only superusers change other staff")
        if is_active is not None and is_active != user.is_active:
            user.is_active, user.updated_at = is_active, timezone.now()
            user.save(update_fields=["is_active", "updated_at"])
            record_activity(user, actor_id=actor.pk, caller=caller)
        if role is not None and role != user.role:
            set_role(user=user, role=role, actor_id=actor.pk, caller=caller)
    return user


def set_role(*, user: User, role: Role, actor_id: int | None, caller: Caller | None) -> None:
    """Set the rights of a user to those of a role. `actor_id` and `caller` are None for a command."""
    before = User(is_staff=user.is_staff, is_superuser=user.is_superuser)
    user.is_staff, user.is_superuser = role != "user", role == "superuser"
    user.updated_at = timezone.now()
    user.save(update_fields=["is_staff", "is_superuser", "updated_at"])
    record_role(user, before=before, actor_id=actor_id, caller=caller)


def add_to_group(*, user: User, group: Group) -> None:
    """Give a user the permissions of a group, by a command."""
    before = sorted(user.groups.values_list("pk", flat=True))
    user.groups.add(group)
    record_event(
        AuditEvent.Event.STAFF_CHANGE,
        user_id=user.pk,
        model="accounts.user",
        id=str(user.pk),
        before={"groups": before},
        after={"groups": sorted([*before, group.pk])},
    )


def record_role(user: User, *, before: User, actor_id: int | None, caller: Caller | None) -> None:
    """Apply the effects of a change of rights. `before` has the previous rights.

    Writes a row to the audit log. A user who loses rights also loses the admin sessions, so these do not return with
    the rights.
    """
    if (before.is_staff and not user.is_staff) or (before.is_superuser and not user.is_superuser):
        end_admin_sessions(user_id=user.pk, reason="role_changed")
    announce_end(user_subject(user.pk))
    record_event(
        AuditEvent.Event.ROLE_CHANGED,
        caller=caller,
        user_id=user.pk,
        actor_id=actor_id,
        role=user.role,
        superuser=user.is_superuser,
        before={"role": before.role, "superuser": before.is_superuser},
        after={"role": user.role, "superuser": user.is_superuser},
    )


def record_activity(user: User, *, actor_id: int | None, caller: Caller) -> None:
    """Apply the effects of a deactivation or activation: end the sessions and write a row to the audit log."""
    if not user.is_active:
        end_all_sessions(user_id=user.pk, reason="deactivated")
        end_all_api_keys(user_id=user.pk, reason="deactivated", actor_id=actor_id, caller=caller)
    event = AuditEvent.Event.ACTIVATED if user.is_active else AuditEvent.Event.DEACTIVATED
    change: dict[str, Any] = {"before": {"is_active": not user.is_active}, "after": {"is_active": user.is_active}}
    record_event(event, caller=caller, user_id=user.pk, actor_id=actor_id, **change)
