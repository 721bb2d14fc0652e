"""The base of the calls that are made without a token."""

from __future__ import annotations

from rest_framework.permissions import AllowAny
from rest_framework.views import APIView

from edgechat.http.rate_limit import AuthRateThrottle


class AnonymousView(APIView):
    """A call that is made to become known: no token is looked at, and each address may make few."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (AuthRateThrottle,)
