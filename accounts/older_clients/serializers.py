"""Bodies of the calls that only clients of the older backends make."""

from __future__ import annotations

from typing import Annotated, TypedDict

from accounts.serializers import DeviceToken, TokenType, UserOutput


class SignupOutput(TypedDict):
    user: Annotated[UserOutput, "The new account."]
    message: Annotated[str, "What was done, for people."]


class AccessTokenOutput(TypedDict):
    access_token: Annotated[str, "The access token (a JWT), to be sent as `Authorization: Bearer`."]
    token_type: TokenType


class SigninOutput(AccessTokenOutput):
    user: Annotated[UserOutput, "The account."]
    refresh_token: Annotated[str, "The refresh token (a JWT), for the next pair."]
    device_token: DeviceToken
