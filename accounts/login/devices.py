"""Devices on which an account was logged in, which the failures of others do not lock out (OWASP's device cookies).

A device token is signed, and good for one account for 180 days, as long as its password stays. It proves nothing but
that a login succeeded before: failed logins that bring it are counted apart (accounts.login.login_lock). Clients that
keep cookies have it in the cookie `device`, those of the five latest accounts together; others keep the answer's
`device_token` and send it with the next login.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

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


def given_tokens(request: HttpRequest, device_token: str = "") -> list[str]:
    """The device tokens of a request, of whatever accounts and not checked: that of its body, and the cookie's."""
    return [device_token, *request.COOKIES.get(COOKIE, "").split(_SEPARATOR)[:MAX_ACCOUNTS]]


def device_of(user: User | None, tokens: Sequence[str]) -> str | None:
    """The id of the device whose token is among these; None if none is good for this user."""
    # All are read, user or not, so that the time tells nothing of who there is.
    for claims in [_claims(token) for token in tokens]:
        if user is not None and claims.get("user") == user.pk and constant_time_compare(claims["state"], _state(user)):
            device: str = claims["device"]
            return device
    return None


def make_device_token(user: User, tokens: Sequence[str]) -> str:
    """The token for a user who has just shown who they are; `tokens`: those that the request gave."""
    device = device_of(user, tokens) or secrets.token_urlsafe(12)
    return signing.dumps({"user": user.pk, "device": device, "state": _state(user)}, salt=_SALT)


def remember_device(response: HttpResponseBase, user: User, tokens: Sequence[str], *, token: str = "") -> str:
    """Set the cookie for such a user, to the token that was made or to a new one; gives it."""
    token = token or make_device_token(user, tokens)
    others = [other for other in dict.fromkeys(tokens) if _claims(other).get("user", user.pk) != user.pk]
    response.set_cookie(
        COOKIE,
        _SEPARATOR.join([token, *others][:MAX_ACCOUNTS]),
        max_age=LIFETIME,
        secure=not settings.DEVELOPMENT,
        httponly=True,
        samesite="Lax",
    )
    return token


def _claims(token: str) -> dict[str, Any]:
    """Empty if the token is forged or too old."""
    try:
        claims: dict[str, Any] = signing.loads(token[:MAX_TOKEN], salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature:
        return {}
    return claims


def _state(user: User) -> str:
    """Changes with the password: who knew an older one has no count of their own."""
    return salted_hmac(_SALT, f"{user.pk}\n{user.password}", algorithm="sha256").hexdigest()[:32]
