"""Password resets and the verification of e-mail addresses."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from rest_framework import serializers

from accounts.anonymous import AnonymousView
from accounts.login.devices import given_tokens, issue_device_token
from accounts.recovery.emails import send_password_reset, send_verification
from accounts.recovery.services import reset_password, verify_email
from accounts.requests import AuthenticatedRequest
from accounts.serializers import DeviceToken, PasswordField
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Accepted, Answer
from edgechat.http.client_address import caller_of
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, sends


class EmailInput(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254, help_text="The address of the account.")


class TokenInput(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1000, help_text="From the e-mail.")


class ResetInput(TokenInput):
    password = PasswordField(help_text="The new password: 8 to 128 characters of any kind.")


class AnswerOutput(TypedDict):
    message: Annotated[str, "What was done, for people."]


class ResetOutput(AnswerOutput):
    device_token: DeviceToken


SENT = "If there is something to send, an e-mail is on its way"


class PasswordForgotView(AnonymousView):
    @extend_schema(operation_id="password_forgot", tags=["accounts"], request=EmailInput)
    def post(self, request: AuthenticatedRequest) -> Accepted[AnswerOutput]:
        """Request an e-mail for a new password.

        The e-mail has a token for `password_reset`. The answer is the same whether or not the user exists.
        """
        email = validated_body(EmailInput, request)["email"]
        send_password_reset(email)
        return Accepted(AnswerOutput(message=SENT))


class PasswordResetView(AnonymousView):
    @extend_schema(operation_id="password_reset", tags=["accounts"], request=ResetInput)
    @sends("Set-Cookie")
    def post(self, request: AuthenticatedRequest) -> Answer[ResetOutput]:
        """Set a new password with a token.

        The token is that of an e-mail. It works once and within an hour. All sessions and API keys end.

        With the `device_token` the next login is not blocked by other clients' failed logins.
        """
        user = reset_password(**validated_body(ResetInput, request), caller=caller_of(request._request))
        device = issue_device_token(user, given_tokens(request._request))
        return device.set_cookie(Answer(ResetOutput(message="The password was changed", device_token=device.text)))


class EmailVerifyView(AnonymousView):
    @extend_schema(operation_id="email_verify", tags=["accounts"], request=TokenInput)
    def post(self, request: AuthenticatedRequest) -> Answer[AnswerOutput]:
        """Verify the e-mail address.

        The token is that of an e-mail. It works once and within 24 hours.
        """
        verify_email(**validated_body(TokenInput, request))
        return Answer(AnswerOutput(message="The e-mail address is verified"))


class EmailResendView(APIView):
    throttle_classes = (AuthRateThrottle,)

    @extend_schema(operation_id="email_resend", tags=["accounts"], request=None)
    def post(self, request: AuthenticatedRequest) -> Accepted[AnswerOutput]:
        """Send the verification e-mail again.

        Nothing is sent if the address is verified. The answer is the same.
        """
        send_verification(request.user)
        return Accepted(AnswerOutput(message=SENT))
