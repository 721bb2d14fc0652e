"""Password resets and the verification of e-mail addresses."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers

from accounts.anonymous import AnonymousView
from accounts.examples import DEVICE_TOKEN
from accounts.login.devices import given_tokens, make_device_token, remember_device
from accounts.recovery.emails import send_password_reset, send_verification
from accounts.recovery.services import reset_password, verify_email
from accounts.requests import AuthenticatedRequest
from accounts.serializers import PasswordField
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Accepted, Answer
from edgechat.http.client_address import caller_of
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.validation import validated_body


class EmailInput(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)


class TokenInput(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=1000, help_text="From the e-mail.")


class ResetInput(TokenInput):
    password = PasswordField()


class AnswerOutput(TypedDict):
    message: str


class ResetOutput(AnswerOutput):
    device_token: Annotated[str, "Send it with the next login."]


_TOKEN = "v1.Zm9yZ290.c2lnbmVk"  # noqa: S105  (an example)
_TOKEN_EXAMPLE = OpenApiExample("Token", value={"token": _TOKEN}, request_only=True)


def _example(text: str) -> OpenApiExample:
    return OpenApiExample("Answer", value={"message": text}, response_only=True)


PASSWORD_CHANGED = "The password was changed"  # noqa: S105  (no password)
SENT = "If there is something to send, an e-mail is on its way"


class PasswordForgotView(AnonymousView):
    @extend_schema(
        operation_id="password_forgot",
        tags=["accounts"],
        request=EmailInput,
        examples=[_example(SENT), OpenApiExample("E-mail", value={"email": "ann@example.com"}, request_only=True)],
    )
    def post(self, request: AuthenticatedRequest) -> Accepted[AnswerOutput]:
        """Request an e-mail with a token for a new password. The answer is the same whether or not the user exists."""
        email = validated_body(EmailInput, request)["email"]
        send_password_reset(email)
        return Accepted(AnswerOutput(message=SENT))


class PasswordResetView(AnonymousView):
    @extend_schema(
        operation_id="password_reset",
        tags=["accounts"],
        request=ResetInput,
        examples=[
            OpenApiExample(
                "Answer", value={"message": PASSWORD_CHANGED, "device_token": DEVICE_TOKEN}, response_only=True
            ),
            OpenApiExample("Password", value={"token": _TOKEN, "password": "correct horse"}, request_only=True),
        ],
    )
    def post(self, request: AuthenticatedRequest) -> Answer[ResetOutput]:
        """Set a new password with the token of an e-mail, once and within an hour. It ends all sessions.

        With the `device_token` the next login is not blocked by other clients' failed logins.
        """
        user = reset_password(**validated_body(ResetInput, request), caller=caller_of(request._request))
        given = given_tokens(request._request)
        answer = Answer(ResetOutput(message=PASSWORD_CHANGED, device_token=(token := make_device_token(user, given))))
        remember_device(answer, user, given, token=token)
        return answer


class EmailVerifyView(AnonymousView):
    @extend_schema(
        operation_id="email_verify",
        tags=["accounts"],
        request=TokenInput,
        examples=[_example("The e-mail address is verified"), _TOKEN_EXAMPLE],
    )
    def post(self, request: AuthenticatedRequest) -> Answer[AnswerOutput]:
        """Verify the e-mail address with the token of an e-mail, once and within 24 hours."""
        verify_email(**validated_body(TokenInput, request))
        return Answer(AnswerOutput(message="The e-mail address is verified"))


class EmailResendView(APIView):
    throttle_classes = (AuthRateThrottle,)

    @extend_schema(
        operation_id="email_resend",
        tags=["accounts"],
        request=None,
        examples=[_example(SENT)],
    )
    def post(self, request: AuthenticatedRequest) -> Accepted[AnswerOutput]:
        """Send the verification e-mail again, unless the address is verified."""
        send_verification(request.user)
        return Accepted(AnswerOutput(message=SENT))
