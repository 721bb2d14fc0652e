"""Which other users a staff user may change, whatever permissions this staff user has."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


def is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


def may_see(request: HttpRequest, model: str) -> bool:
    """Whether the requesting user may see the list of `app.model`, in lower case."""
    app, _, name = model.partition(".")
    return any(request.user.has_perm(f"{app}.{action}_{name}") for action in ("view", "change"))


def may_touch(request: HttpRequest, user: User) -> bool:
    """Whether the requesting user may change this user. Accounts that are being deleted cannot be changed."""
    if user.deletion_requested_at is not None:
        return False
    return is_superuser(request) or user == request.user or not (user.is_staff or user.is_superuser)
