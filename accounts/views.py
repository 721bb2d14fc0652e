"""Registration, login, refresh and the user's own account."""

from __future__ import annotations

from typing import cast

from drf_spectacular.utils import OpenApiExample, extend_schema

from accounts.anonymous import AnonymousView
from accounts.examples import DEVICE_TOKEN
from accounts.lifecycle.deletion import delete_user
from accounts.login.devices import given_tokens, make_device_token, remember_device
from accounts.login.login_lock import LoginLocked
from accounts.login.sessions import AccountChanged, IssuedTokens, RefreshInvalid, refresh_session, start_session
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
    user_body,
)
from accounts.services import (
    EmailTaken,
    InvalidCredentials,
    ReauthenticationRequired,
    change_password,
    log_in_user,
    register_user,
    rename_user,
)
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.validation import validated_body
from edgechat.openapi.schema import raises

_TOKENS = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2ln",
    "refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.Z25z",
    "token_type": "bearer",
    "expires_in": 900,
}
TOKENS_EXAMPLE = OpenApiExample("Token pair", value=_TOKENS, response_only=True)
LOGIN_EXAMPLE = OpenApiExample("Token pair", value={**_TOKENS, "device_token": DEVICE_TOKEN}, response_only=True)


def tokens_body(tokens: IssuedTokens) -> TokensOutput:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
    }


def login_body(tokens: IssuedTokens, device_token: str) -> LoginOutput:
    return {**tokens_body(tokens), "device_token": device_token}


class RegisterView(AnonymousView):
    @extend_schema(
        operation_id="register",
        tags=["accounts"],
        request=RegisterInput,
        examples=[
            LOGIN_EXAMPLE,
            OpenApiExample(
                "Registration",
                value={"email": "ann@example.com", "password": "correct horse", "device_name": "Ann's phone"},
                request_only=True,
            ),
        ],
    )
    @raises(EmailTaken, AccountChanged)
    def post(self, request: AuthenticatedRequest) -> Created[LoginOutput]:
        """Create an account and log in to it."""
        data = validated_body(RegisterInput, request)
        caller = caller_of(request._request)
        device_name = data.pop("device_name")
        user = register_user(**data, caller=caller)
        tokens = start_session(user=user, caller=caller, device_name=device_name)
        given = given_tokens(request._request)
        answer = Created(login_body(tokens, token := make_device_token(user, given)))
        remember_device(answer, user, given, token=token)
        return answer


class LoginView(AnonymousView):
    @extend_schema(
        operation_id="login",
        tags=["accounts"],
        request=LoginInput,
        examples=[
            LOGIN_EXAMPLE,
            OpenApiExample("Login", value={"email": "ann@example.com", "password": "correct horse"}, request_only=True),
        ],
    )
    @raises(InvalidCredentials, LoginLocked)
    def post(self, request: AuthenticatedRequest) -> Answer[LoginOutput]:
        """Log in with e-mail and password. A new session starts.

        After five failed logins for one e-mail address within 15 minutes, from any client, the answer is 429
        `login_locked`. A device that sends the `device_token` of its last login or registration, or the cookie `device`
        with the same value, has its own count, so other clients do not lock it out. The token is valid for 180 days, or
        until the password changes.
        """
        data = validated_body(LoginInput, request)
        given = given_tokens(request._request, data.pop("device_token"))
        user, tokens = log_in_user(**data, caller=caller_of(request._request), device_tokens=given)
        answer = Answer(login_body(tokens, token := make_device_token(user, given)))
        remember_device(answer, user, given, token=token)
        return answer


class RefreshView(AnonymousView):
    @extend_schema(
        operation_id="refresh",
        tags=["accounts"],
        request=RefreshInput,
        examples=[
            TOKENS_EXAMPLE,
            OpenApiExample("Refresh", value={"refresh_token": _TOKENS["refresh_token"]}, request_only=True),
        ],
    )
    @raises(RefreshInvalid)
    def post(self, request: AuthenticatedRequest) -> Answer[TokensOutput]:
        """Exchange a refresh token for a new pair.

        The old token returns the same new pair again while no token of that pair has been used (for at most 24 hours),
        and for 10 seconds after the first use. A later refresh counts as theft, and the session ends.
        """
        data = validated_body(RefreshInput, request)
        tokens = refresh_session(refresh_token=data["refresh_token"], caller=caller_of(request._request))
        return Answer(tokens_body(tokens))


class MeView(APIView):
    @extend_schema(operation_id="auth_me", tags=["accounts"])
    def get(self, request: AuthenticatedRequest) -> Answer[IdentityOutput]:
        """The user of the token."""
        return Answer(IdentityOutput(id=request.user.pk, email=request.user.email))


class UserMeView(APIView):
    @extend_schema(operation_id="users_me_get", tags=["accounts"])
    def get(self, request: AuthenticatedRequest) -> Answer[UserOutput]:
        """The user's own account."""
        return Answer(user_body(request.user))

    @extend_schema(
        operation_id="users_me_update",
        tags=["accounts"],
        request=ProfileInput,
        examples=[OpenApiExample("Name", value={"full_name": "Ann Lee"}, request_only=True)],
    )
    @raises(ReauthenticationRequired, LoginLocked)
    def patch(self, request: AuthenticatedRequest) -> Answer[ProfileOutput]:
        """Change the name or the password.

        A new password ends all other sessions. It requires `current_password`, or a login within the last 15 minutes.
        The answer has a new `device_token` for the next login.
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
        body = cast(ProfileOutput, user_body(request.user))
        if "password" not in data:
            return Answer(body)
        given = given_tokens(request._request)
        body["device_token"] = make_device_token(request.user, given)
        answer = Answer(body)
        remember_device(answer, request.user, given, token=body["device_token"])
        return answer

    @extend_schema(operation_id="users_me_delete", tags=["accounts"])
    def delete(self, request: AuthenticatedRequest) -> NoContent:
        """Delete the account with all its data."""
        delete_user(user=request.user, caller=caller_of(request._request), actor_id=request.user.pk)
        return NoContent()
