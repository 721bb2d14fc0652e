"""Devices that know an account, which failed logins elsewhere do not lock out (OWASP's device cookies).

A device token is signed and valid for one account for 180 days, as long as the password does not change. It proves only
that a login succeeded before: failed logins with it are counted separately (accounts.login.login_lock). Clients with
cookies store the tokens of the five latest accounts in the cookie `device`; other clients keep the `device_token` of
the answer and send it with the next login.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User

COOKIE = "device"
LIFETIME = timedelta(days=180)
MAX_ACCOUNTS = 5
MAX_TOKEN = 1000

_SEPARATOR = "|"
_SALT = "accounts.devices"

R = TypeVar("R", bound=HttpResponseBase)


def given_tokens(request: HttpRequest, device_token: str = "") -> list[str]:
    """The device tokens of a request, from its body and its cookie.

    They are not verified and may belong to any account.
    """
    return [device_token, *request.COOKIES.get(COOKIE, "").split(_SEPARATOR)[:MAX_ACCOUNTS]]


def device_of(user: User | None, tokens: Sequence[str]) -> str | None:
    """The id of the device whose token is among these; None if none is valid for this user."""
    # Read all tokens even without a user, so that the time does not show whether the user exists.
    for claims in [_claims(token) for token in tokens]:
        if user is not None and claims.get("user") == user.pk and constant_time_compare(claims["state"], _state(user)):
            device: str = claims["device"]
            return device
    return None


@dataclass(frozen=True)
class DeviceToken:
    """A device token for the body of an answer, and the cookie that keeps it with the tokens of other accounts."""

    text: str
    cookie: str

    def set_cookie(self, response: R) -> R:
        """The response, with the cookie."""
        response.set_cookie(
            COOKIE, self.cookie, max_age=LIFETIME, secure=not settings.DEVELOPMENT, httponly=True, samesite="Lax"
        )
        return response


def issue_device_token(user: User, given: Sequence[str]) -> DeviceToken:
    """A token for a user who has just authenticated. `given`: the device tokens of the request."""
    device = device_of(user, given) or secrets.token_urlsafe(12)
    text = signing.dumps({"user": user.pk, "device": device, "state": _state(user)}, salt=_SALT)
    others = [other for other in dict.fromkeys(given) if _claims(other).get("user", user.pk) != user.pk]
    return DeviceToken(text, _SEPARATOR.join([text, *others][:MAX_ACCOUNTS]))


def _claims(token: str) -> dict[str, Any]:
    """The claims of a device token; empty if the token is forged or expired."""
    try:
        claims: dict[str, Any] = signing.loads(token[:MAX_TOKEN], salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature:
        return {}
    return claims


def _state(user: User) -> str:
    """A value that changes with the password, so that an old password gives no separate count."""
    return salted_hmac(_SALT, f"{user.pk}\n{user.password}", algorithm="sha256").hexdigest()[:32]
