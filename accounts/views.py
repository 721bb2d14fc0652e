"""Registration, login, refresh and the user's own account."""

from __future__ import annotations

from typing import cast

from accounts.anonymous import AnonymousView, log_in
from accounts.lifecycle.deletion import delete_user
from accounts.login.devices import DeviceToken, given_tokens, issue_device_token
from accounts.login.login_lock import LoginLocked
from accounts.login.sessions import AccountChanged, IssuedTokens, RefreshInvalid, refresh_session, start_session
from accounts.requests import AuthenticatedRequest, session_of
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
    register_user,
    rename_user,
)
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, raises, sends


def tokens_body(tokens: IssuedTokens) -> TokensOutput:
    return {
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "bearer",
        "expires_in": tokens.expires_in,
    }


def login_body(tokens: IssuedTokens, device: DeviceToken) -> LoginOutput:
    return {**tokens_body(tokens), "device_token": device.text}


class RegisterView(AnonymousView):
    @extend_schema(operation_id="register", tags=["accounts"], request=RegisterInput)
    @raises(EmailTaken, AccountChanged)
    @sends("Set-Cookie", on=(201,))
    def post(self, request: AuthenticatedRequest) -> Created[LoginOutput]:
        """Create an account and log in to it.

        The answer is that of a login. The e-mail address is kept as typed, and is unique whatever the case of its
        letters. An e-mail with a token to verify the address is sent.
        """
        data = validated_body(RegisterInput, request)
        caller = caller_of(request._request)
        device_name = data.pop("device_name")
        user = register_user(**data, caller=caller)
        tokens = start_session(user=user, caller=caller, device_name=device_name)
        device = issue_device_token(user, given_tokens(request._request))
        return device.set_cookie(Created(login_body(tokens, device)))


class LoginView(AnonymousView):
    @extend_schema(operation_id="login", tags=["accounts"], request=LoginInput)
    @raises(InvalidCredentials, LoginLocked)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[LoginOutput]:
        """Log in with e-mail and password.

        A new session starts, with an access token and a refresh token.

        After five failed logins for one e-mail address within 15 minutes, from any client, the answer is 429
        `login_locked`. A device that sends the `device_token` of its last login or registration, or the cookie `device`
        with the same value, has its own count, so other clients do not lock it out. The token is valid for 180 days, or
        until the password changes.
        """
        _, tokens, device = log_in(request, LoginInput)
        return device.set_cookie(Answer(login_body(tokens, device)))


class RefreshView(AnonymousView):
    @extend_schema(operation_id="refresh", tags=["accounts"], request=RefreshInput)
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
        """Get the user of the token.

        The answer has the id and the address. `users_me_get` has the whole account.
        """
        return Answer(IdentityOutput(id=request.user.pk, email=request.user.email))


class UserMeView(APIView):
    @extend_schema(operation_id="users_me_get", tags=["accounts"])
    def get(self, request: AuthenticatedRequest) -> Answer[UserOutput]:
        """Get the user's own account.

        The answer has the name, the role, and whether the address is verified.
        """
        return Answer(user_body(request.user))

    @extend_schema(operation_id="users_me_update", tags=["accounts"], request=ProfileInput)
    @raises(ReauthenticationRequired, LoginLocked)
    @sends("Set-Cookie")
    def patch(self, request: AuthenticatedRequest) -> Answer[ProfileOutput]:
        """Change the name or the password.

        A new password ends all other sessions and all API keys. It requires `current_password`, or a login within the
        last 15 minutes. The answer has a new `device_token` for the next login.
        """
        data = validated_body(ProfileInput, request)
        if "password" in data:
            change_password(
                user=request.user,
                session=session_of(request),
                password=data["password"],
                current_password=data.get("current_password"),
                caller=caller_of(request._request),
            )
        if "full_name" in data:
            rename_user(user=request.user, full_name=data["full_name"] or "")
        body = cast(ProfileOutput, user_body(request.user))
        if "password" not in data:
            return Answer(body)
        device = issue_device_token(request.user, given_tokens(request._request))
        body["device_token"] = device.text
        return device.set_cookie(Answer(body))

    @extend_schema(operation_id="users_me_delete", tags=["accounts"])
    def delete(self, request: AuthenticatedRequest) -> NoContent:
        """Delete the user's account.

        All its data is deleted from every store: conversations, pictures, todos, sessions and API keys. This cannot be
        undone; `users_me_export` saves the data before.
        """
        delete_user(user=request.user, caller=caller_of(request._request), actor_id=request.user.pk)
        return NoContent()
