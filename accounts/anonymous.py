"""The base class of the calls that need no token."""

from __future__ import annotations

from rest_framework.permissions import AllowAny

from edgechat.http.api_view import APIView
from edgechat.http.rate_limit import AuthRateThrottle


class AnonymousView(APIView):
    """A call without authentication: tokens are ignored, and each client address has a rate limit."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (AuthRateThrottle,)
