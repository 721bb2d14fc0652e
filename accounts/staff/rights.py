"""Which other users a member of staff may act on, whatever permissions they have."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


def is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


def may_touch(request: HttpRequest, user: User) -> bool:
    """Whether the one who asks may change this user at all. What is being deleted is nobody's any more."""
    if user.deletion_requested_at is not None:
        return False
    return is_superuser(request) or user == request.user or not (user.is_staff or user.is_superuser)
