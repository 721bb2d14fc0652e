"""The tokens in e-mails: signed, and bound to the value that they change, so each works once without being stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User

Purpose = Literal["reset", "verify"]

LIFETIMES: dict[Purpose, timedelta] = {"reset": timedelta(hours=1), "verify": timedelta(hours=24)}


def make_emailed_token(user: User, purpose: Purpose) -> str:
    return signing.dumps({"user": user.pk, "state": _state(user, purpose)}, salt=_salt(purpose))


def user_of_token(token: str, purpose: Purpose) -> User | None:
    """The active user of a token for this purpose; None if the token is forged, expired or used."""
    try:
        claims: dict[str, Any] = signing.loads(token, salt=_salt(purpose), max_age=LIFETIMES[purpose])
    except signing.BadSignature:
        return None
    user = User.objects.filter(pk=claims["user"], is_active=True).first()
    return user if user and constant_time_compare(claims["state"], _state(user, purpose)) else None


def _state(user: User, purpose: Purpose) -> str:
    """A value that changes with the address, and with the password or the verification, depending on the purpose."""
    changing = user.password if purpose == "reset" else str(user.is_verified)
    return salted_hmac(_salt(purpose), f"{user.pk}\n{user.email}\n{changing}", algorithm="sha256").hexdigest()


def _salt(purpose: Purpose) -> str:
    return f"accounts.emailed_tokens.{purpose}"
