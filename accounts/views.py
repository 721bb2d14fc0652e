"""Registration, login, refresh, and the own account."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.deletion import delete_user
from accounts.devices import given_tokens, remember_device
from accounts.requests import AuthenticatedRequest
from accounts.serializers import (
    IdentityOutput,
    LoginInput,
    LoginOutput,
    ProfileInput,
    ProfileOutput,
    RefreshInput,
    RegisterInput,
    TokensOutput,
    UserOutput,
)
from accounts.services import change_password, log_in_user, register_user, rename_user
from accounts.sessions import IssuedTokens, refresh_session, start_session
from edgechat.client_address import caller_of
from edgechat.rate_limit import AuthRateThrottle
from edgechat.validation import validated_body

DEVICE_TOKEN = "eyJ1c2VyIjo3fQ:1vOZ1y:c2lnbmVk"  # noqa: S105  (an example)
_TOKENS = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2ln",
    "refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.Z25z",
    "token_type": "bearer",
    "expires_in": 900,
}
TOKENS_EXAMPLE = OpenApiExample("Token pair", value=_TOKENS, response_only=True)
LOGIN_EXAMPLE = OpenApiExample("Token pair", value={**_TOKENS, "device_token": DEVICE_TOKEN}, response_only=True)


def tokens_body(tokens: IssuedTokens) -> dict[str, Any]:
    return {**asdict(tokens), "token_type": "bearer"}


class AnonymousView(APIView):
    """A call that is made to become known: no token is looked at, and each address may make few."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (AuthRateThrottle,)


class RegisterView(AnonymousView):
    @extend_schema(
        operation_id="register",
        tags=["accounts"],
        request=RegisterInput,
        responses={201: LoginOutput},
        examples=[
            LOGIN_EXAMPLE,
            OpenApiExample(
                "Registration",
                value={"email": "ann@example.com", "password": "correct horse", "device_name": "Ann's phone"},
                request_only=True,
            ),
        ],
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """Make an account and log in to it."""
        data = validated_body(RegisterInput, request)
        caller = caller_of(request._request)
        device_name = data.pop("device_name")
        user = register_user(**data, caller=caller)
        tokens = start_session(user=user, caller=caller, device_name=device_name)
        response = Response(tokens_body(tokens), status=201)
        response.data["device_token"] = remember_device(response, user, given_tokens(request._request))
        return response


class LoginView(AnonymousView):
    @extend_schema(
        operation_id="login",
        tags=["accounts"],
        request=LoginInput,
        responses=LoginOutput,
        examples=[
            LOGIN_EXAMPLE,
            OpenApiExample("Login", value={"email": "ann@example.com", "password": "correct horse"}, request_only=True),
        ],
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """Log in with e-mail and password; a new session begins.

        After five failures for one e-mail within 15 minutes, whoever made them, it is 429 `login_locked`. A device that
        sends the `device_token` of its last login or registration, or the cookie `device` with the same, is counted by
        itself: others do not lock it out. The token is good for 180 days, until the password changes.
        """
        data = validated_body(LoginInput, request)
        given = given_tokens(request._request, data.pop("device_token"))
        user, tokens = log_in_user(**data, caller=caller_of(request._request), device_tokens=given)
        response = Response(tokens_body(tokens))
        response.data["device_token"] = remember_device(response, user, given)
        return response


class RefreshView(AnonymousView):
    @extend_schema(
        operation_id="refresh",
        tags=["accounts"],
        request=RefreshInput,
        responses=TokensOutput,
        examples=[TOKENS_EXAMPLE],
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """Exchange a refresh token for a new pair.

        The old token gives the same new pair again while no token of that pair was used (24 hours at most) and for
        10 seconds after; later it counts as stolen, and the session ends.
        """
        data = validated_body(RefreshInput, request)
        tokens = refresh_session(refresh_token=data["refresh_token"], caller=caller_of(request._request))
        return Response(tokens_body(tokens))


class MeView(APIView):
    @extend_schema(operation_id="auth_me", tags=["accounts"], responses=IdentityOutput)
    def get(self, request: AuthenticatedRequest) -> Response:
        """Who the token belongs to."""
        return Response({"id": request.user.pk, "email": request.user.email})


class UserMeView(APIView):
    @extend_schema(operation_id="users_me_get", tags=["accounts"], responses=UserOutput)
    def get(self, request: AuthenticatedRequest) -> Response:
        """The user's own account."""
        return Response(UserOutput(request.user).data)

    @extend_schema(operation_id="users_me_update", tags=["accounts"], request=ProfileInput, responses=ProfileOutput)
    def patch(self, request: AuthenticatedRequest) -> Response:
        """Change the name or the password.

        A new password ends all other sessions. It needs `current_password`, or a login within the last 15 minutes; its
        answer has a new `device_token`, for the next login.
        """
        data = validated_body(ProfileInput, request)
        if "password" in data:
            change_password(
                user=request.user,
                session=request.auth,
                password=data["password"],
                current_password=data.get("current_password"),
                caller=caller_of(request._request),
            )
        if "full_name" in data:
            rename_user(user=request.user, full_name=data["full_name"] or "")
        response = Response(UserOutput(request.user).data)
        if "password" in data:
            response.data["device_token"] = remember_device(response, request.user, given_tokens(request._request))
        return response

    @extend_schema(operation_id="users_me_delete", tags=["accounts"], responses={204: None})
    def delete(self, request: AuthenticatedRequest) -> Response:
        """Delete the account with everything that belongs to it."""
        delete_user(user=request.user, caller=caller_of(request._request), actor_id=request.user.pk)
        return Response(status=204)
