"""Bodies of the calls that only clients of the older backends make."""

from __future__ import annotations

from typing import TypedDict

from accounts.serializers import DeviceToken, TokenType, UserOutput


class SignupOutput(TypedDict):
    user: UserOutput
    message: str


class AccessTokenOutput(TypedDict):
    access_token: str
    token_type: TokenType


class SigninOutput(AccessTokenOutput):
    user: UserOutput
    refresh_token: str
    device_token: DeviceToken
