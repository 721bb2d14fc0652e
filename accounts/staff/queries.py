"""What staff read of accounts."""

from __future__ import annotations

from accounts.models import User
from edgechat.errors import NotFound, PermissionDenied


def visible_user(*, viewer: User, user_id: int) -> User:
    """The viewer's own account, or any account for staff. Raises NotFound."""
    user = None
    if viewer.is_staff or user_id == viewer.pk:
        user = User.objects.filter(pk=user_id, deletion_requested_at=None).first()
    if user is None:
        raise NotFound
    return user


def require_staff(user: User) -> None:
    if not user.is_staff:
        raise PermissionDenied("Access denied. Required role: ['admin']")


def whom_to_ask() -> str:
    """A sentence for staff who lack a permission."""
    superusers = User.objects.filter(is_superuser=True, is_active=True, deletion_requested_at=None).order_by("id")
    addresses = " or ".join(superusers.values_list("email", flat=True)[:2])
    return f"Ask a superuser for the permission{addresses and f': {addresses}'}."


def list_users(*, limit: int, skip: int) -> list[User]:
    """All accounts ordered by id, except accounts that are being deleted."""
    return list(User.objects.filter(deletion_requested_at=None).order_by("id")[skip : skip + limit])
