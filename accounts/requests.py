"""The type of a request that carried a valid access token or API key."""

from __future__ import annotations

from rest_framework.request import Request

from accounts.models import ApiKey, Session, User
from edgechat.errors import PermissionDenied


class AuthenticatedRequest(Request):
    """For annotations only: `user` and `auth` as AccessTokenAuthentication sets them."""

    user: User
    auth: Session | ApiKey


def session_of(request: AuthenticatedRequest) -> Session:
    """The session of a call that accepts no API key. Raises PermissionDenied."""
    if not isinstance(request.auth, Session):
        raise PermissionDenied
    return request.auth
