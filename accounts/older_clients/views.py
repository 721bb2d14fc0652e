"""Registration and login in the form that the older backends' clients use."""

from __future__ import annotations

from accounts.anonymous import AnonymousView, log_in
from accounts.login.login_lock import LoginLocked
from accounts.older_clients.serializers import SigninOutput, SignupOutput
from accounts.requests import AuthenticatedRequest
from accounts.serializers import CredentialsInput, IdentityOutput, NewCredentialsInput, SignupInput, user_body
from accounts.services import EmailTaken, InvalidCredentials, register_user
from edgechat.http.bodies import Answer, Created
from edgechat.http.client_address import caller_of
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, raises, sends


class SignupView(AnonymousView):
    @extend_schema(operation_id="signup", tags=["older clients"], deprecated=True, request=SignupInput)
    @raises(EmailTaken)
    def post(self, request: AuthenticatedRequest) -> Created[SignupOutput]:
        """Create an account without a login.

        The answer has the account and no tokens. New clients use `register` (POST `/api/v1/auth/register`).
        """
        user = register_user(**validated_body(SignupInput, request), caller=caller_of(request._request))
        return Created(SignupOutput(user=user_body(user), message="User created successfully"))


class SigninView(AnonymousView):
    @extend_schema(operation_id="signin", tags=["older clients"], deprecated=True, request=CredentialsInput)
    @raises(InvalidCredentials, LoginLocked)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[SigninOutput]:
        """Log in and get the account.

        The answer has the account and the token pair. New clients use `login` (POST `/api/v1/auth/login`) and
        `users_me_get`.
        """
        user, tokens, device = log_in(request, CredentialsInput)
        body = SigninOutput(
            user=user_body(user),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            token_type="bearer",  # noqa: S106
            device_token=device.text,
        )
        return device.set_cookie(Answer(body))


class UserRegisterView(AnonymousView):
    @extend_schema(operation_id="users_register", tags=["older clients"], deprecated=True, request=NewCredentialsInput)
    @raises(EmailTaken)
    def post(self, request: AuthenticatedRequest) -> Answer[IdentityOutput]:
        """Create an account without a login.

        The answer has the id and the address, and no tokens. New clients use `register` (POST `/api/v1/auth/register`).
        """
        user = register_user(**validated_body(NewCredentialsInput, request), caller=caller_of(request._request))
        return Answer(IdentityOutput(id=user.pk, email=user.email))
