"""Registration and login in the form that the older backends' clients use."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, extend_schema

from accounts.anonymous import AnonymousView
from accounts.examples import CREDENTIALS, CREDENTIALS_EXAMPLE, DEVICE_TOKEN, USER
from accounts.login.devices import given_tokens, make_device_token, remember_device
from accounts.login.login_lock import LoginLocked
from accounts.older_clients.serializers import (
    CredentialsInput,
    NewCredentialsInput,
    SigninOutput,
    SignupInput,
    SignupOutput,
)
from accounts.requests import AuthenticatedRequest
from accounts.serializers import IdentityOutput, user_body
from accounts.services import EmailTaken, InvalidCredentials, log_in_user, register_user
from edgechat.http.bodies import Answer, Created
from edgechat.http.client_address import caller_of
from edgechat.http.validation import validated_body
from edgechat.openapi.schema import raises

MADE = "User created successfully"


class SignupView(AnonymousView):
    @extend_schema(
        operation_id="signup",
        tags=["older clients"],
        request=SignupInput,
        examples=[
            OpenApiExample("Signup", value={**CREDENTIALS, "full_name": "Ann Lee"}, request_only=True),
            OpenApiExample("Made", value={"user": USER, "message": MADE}, response_only=True),
        ],
    )
    @raises(EmailTaken)
    def post(self, request: AuthenticatedRequest) -> Created[SignupOutput]:
        """Create an account without logging in to it."""
        user = register_user(**validated_body(SignupInput, request), caller=caller_of(request._request))
        return Created(SignupOutput(user=user_body(user), message=MADE))


class SigninView(AnonymousView):
    @extend_schema(
        operation_id="signin",
        tags=["older clients"],
        request=CredentialsInput,
        examples=[
            CREDENTIALS_EXAMPLE,
            OpenApiExample(
                "Signed in",
                value={
                    "user": USER,
                    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2ln",
                    "refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.Z25z",
                    "token_type": "bearer",
                    "device_token": DEVICE_TOKEN,
                },
                response_only=True,
            ),
        ],
    )
    @raises(InvalidCredentials, LoginLocked)
    def post(self, request: AuthenticatedRequest) -> Answer[SigninOutput]:
        """Log in. The answer has the account and the token pair."""
        data = validated_body(CredentialsInput, request)
        given = given_tokens(request._request, data.pop("device_token"))
        user, tokens = log_in_user(**data, caller=caller_of(request._request), device_tokens=given)
        answer = Answer(
            SigninOutput(
                user=user_body(user),
                access_token=tokens.access_token,
                refresh_token=tokens.refresh_token,
                token_type="bearer",  # noqa: S106
                device_token=(token := make_device_token(user, given)),
            )
        )
        remember_device(answer, user, given, token=token)
        return answer


class UserRegisterView(AnonymousView):
    @extend_schema(
        operation_id="users_register",
        tags=["older clients"],
        request=NewCredentialsInput,
        examples=[
            CREDENTIALS_EXAMPLE,
            OpenApiExample("Made", value={"id": 7, "email": "ann@example.com"}, response_only=True),
        ],
    )
    @raises(EmailTaken)
    def post(self, request: AuthenticatedRequest) -> Answer[IdentityOutput]:
        """Create an account without logging in to it."""
        user = register_user(**validated_body(NewCredentialsInput, request), caller=caller_of(request._request))
        return Answer(IdentityOutput(id=user.pk, email=user.email))
