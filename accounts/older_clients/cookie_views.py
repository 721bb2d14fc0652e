"""The calls of older web clients, which keep the refresh token in a cookie that scripts cannot read.

SameSite=Lax keeps the cookie out of other sites' POST requests. In addition, a request with an origin must come from
this site or from an origin in CORS_ORIGINS. Browsers always send the origin with POST; apps never do.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter

from accounts.anonymous import AnonymousView, log_in
from accounts.login.login_lock import LoginLocked
from accounts.login.logout import log_out_with
from accounts.login.sessions import IssuedTokens, RefreshExpired, RefreshInvalid, refresh_session
from accounts.older_clients.serializers import AccessTokenOutput
from accounts.requests import AuthenticatedRequest
from accounts.serializers import LOGGED_OUT, CredentialsInput, LogoutOutput
from accounts.services import InvalidCredentials
from edgechat.errors import PermissionDenied
from edgechat.http.bodies import Answer
from edgechat.http.client_address import caller_of
from edgechat.openapi.notes import extend_schema, raises, sends

COOKIE = "refresh_token"
COOKIE_PARAMETER = OpenApiParameter(COOKIE, location="cookie", description="Set by login and refresh.")


def is_cross_site(request: HttpRequest) -> bool:
    """Whether the browser reports that a page of another site makes this request."""
    origin = request.headers.get("Origin")
    here = {f"{request.scheme}://{request.get_host()}", settings.PUBLIC_URL, *settings.CORS_ALLOWED_ORIGINS}
    return origin is not None and origin not in here - {""}


class CookieView(AnonymousView):
    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if is_cross_site(request._request):
            raise PermissionDenied("Requests of other sites are refused")


def tokens_response(tokens: IssuedTokens) -> Answer[AccessTokenOutput]:
    response = Answer(AccessTokenOutput(access_token=tokens.access_token, token_type="bearer"))  # noqa: S106
    response.set_cookie(
        COOKIE,
        tokens.refresh_token,
        max_age=int(settings.REFRESH_TOKEN_LIFETIME.total_seconds()),
        secure=not settings.DEVELOPMENT,
        httponly=True,
        samesite="Lax",
    )
    return response


class CookieLoginView(CookieView):
    @extend_schema(operation_id="users_login", tags=["older clients"], deprecated=True, request=CredentialsInput)
    @raises(InvalidCredentials, LoginLocked, PermissionDenied)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[AccessTokenOutput]:
        """Log in with a cookie.

        The answer sets the refresh token in the cookie `refresh_token`. Pages of other sites get 403. New clients use
        `login` (POST `/api/v1/auth/login`).
        """
        try:
            _, tokens, device = log_in(request, CredentialsInput)
        except InvalidCredentials:
            raise InvalidCredentials("Incorrect email or password") from None
        return device.set_cookie(tokens_response(tokens))


class CookieRefreshView(CookieView):
    @extend_schema(
        operation_id="users_refresh",
        tags=["older clients"],
        deprecated=True,
        parameters=[COOKIE_PARAMETER],
        request=None,
    )
    @raises(RefreshInvalid, PermissionDenied)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[AccessTokenOutput]:
        """Refresh the tokens with a cookie.

        The cookie's refresh token is exchanged by the rules of `/auth/refresh`, and the cookie is set again. Pages of
        other sites get 403. New clients use `refresh` (POST `/api/v1/auth/refresh`).
        """
        token = request.COOKIES.get(COOKIE)
        if not token:
            raise RefreshInvalid("Refresh token not found")
        try:
            tokens = refresh_session(refresh_token=token, caller=caller_of(request._request))
        except RefreshExpired:
            raise RefreshInvalid("Refresh token expired") from None
        except RefreshInvalid:
            raise RefreshInvalid("Invalid refresh token") from None
        return tokens_response(tokens)


class CookieLogoutView(CookieView):
    @extend_schema(
        operation_id="users_logout",
        tags=["older clients"],
        deprecated=True,
        parameters=[COOKIE_PARAMETER],
        request=None,
    )
    @raises(PermissionDenied)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[LogoutOutput]:
        """Log out with a cookie.

        The cookie's session ends, if there is one, and the cookie is cleared. Pages of other sites get 403. New clients
        use `logout` (POST `/api/v1/auth/logout`).
        """
        if token := request.COOKIES.get(COOKIE):
            log_out_with(token, caller=caller_of(request._request))
        response = Answer(LOGGED_OUT)
        response.delete_cookie(COOKIE, samesite="Lax")
        return response
