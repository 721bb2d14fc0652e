"""The base classes of the calls that need no token."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import AllowAny
from rest_framework.serializers import Serializer

from accounts.login.devices import DeviceToken, given_tokens, issue_device_token
from accounts.login.sessions import IssuedTokens
from accounts.models import User
from accounts.requests import AuthenticatedRequest
from accounts.services import log_in_user
from edgechat.http.api_view import APIView
from edgechat.http.client_address import caller_of
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.validation import validated_body


class AnonymousView(APIView):
    """A call without authentication: tokens are ignored, and each client address has a rate limit."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (AuthRateThrottle,)


def log_in(request: AuthenticatedRequest, credentials: type[Serializer[Any]]) -> tuple[User, IssuedTokens, DeviceToken]:
    """Log in with the e-mail and password of a body. Raises InvalidCredentials and LoginLocked."""
    data = validated_body(credentials, request)
    given = given_tokens(request._request, data.pop("device_token"))
    user, tokens = log_in_user(**data, caller=caller_of(request._request), device_tokens=given)
    return user, tokens, issue_device_token(user, given)
