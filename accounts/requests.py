"""The type of a request that carried a valid access token."""

from __future__ import annotations

from rest_framework.request import Request

from accounts.models import Session, User


class AuthenticatedRequest(Request):
    """For annotations only: `user` and `auth` as AccessTokenAuthentication sets them."""

    user: User
    auth: Session
