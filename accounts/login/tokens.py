"""Access and refresh tokens. The only module that uses JWT.

A token pair is a pure function of its session, generation and time of issue. So a pair that a client never received can
be made again, byte for byte, without being stored.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import jwt
from django.conf import settings
from django.utils import timezone

TokenType = Literal["access", "refresh"]

# How long an expired token is still accepted, for the time that its request was in flight. All processes use the same
# clock (`edgechat.stores.clock`).
LATE_SECONDS = 5
# How far in the future a token may have been issued: an earlier version used the clock of its machine. This gives a
# client nothing, as the session's row decides whether the token is valid.
EARLY_SECONDS = 300


class TokenInvalid(Exception):
    """Not a token of this application: forged, of the other type, malformed, or without a required claim."""


class TokenExpired(Exception):
    """A token of this application that has expired."""


@dataclass(frozen=True)
class Claims:
    """The claims that the server uses.

    The role and the e-mail address are read from the database, never from the token.
    """

    user_id: int
    session_id: UUID
    generation: int


def make_token(
    kind: TokenType, *, user_id: int, role: str, session_id: UUID, generation: int, issued_at: datetime
) -> str:
    """A signed token. The same arguments give the same text."""
    issued = int(issued_at.timestamp())
    lifetime: timedelta = settings.ACCESS_TOKEN_LIFETIME if kind == "access" else settings.REFRESH_TOKEN_LIFETIME
    identity = f"{session_id}:{generation}:{kind}:{issued}"
    payload = {
        "sub": str(user_id),
        "type": kind,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "jti": hmac.new(settings.SECRET_KEY.encode(), identity.encode(), hashlib.sha256).hexdigest()[:32],
        "sid": str(session_id),
        "gen": generation,
        # Older clients read these claims; the server does not.
        "user_id": user_id,
        "role": role,
    }
    return jwt.encode(payload, settings.JWT_SECRET, algorithm=settings.JWT_ALGORITHM)


def read_token(token: str, kind: TokenType) -> Claims:
    """The claims of a token of this kind. Raises TokenExpired or TokenInvalid."""
    try:
        payload = _signed_payload(token, settings.JWT_SECRET, settings.JWT_ALGORITHM)
        now = timezone.now().timestamp()
        if int(payload["exp"]) <= now - LATE_SECONDS:
            raise TokenExpired
        if max(int(payload["iat"]), int(payload.get("nbf", 0))) > now + EARLY_SECONDS:
            raise TokenInvalid
        if payload["type"] != kind:
            raise TokenInvalid
        generation = payload["gen"]
        if not isinstance(generation, int) or not 0 <= generation < 2**31:
            raise TokenInvalid
        user_id = int(payload["sub"])
        if not 0 < user_id < 2**63:
            raise TokenInvalid
        return Claims(user_id=user_id, session_id=UUID(payload["sid"]), generation=generation)
    except (jwt.InvalidTokenError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TokenInvalid from error


@functools.lru_cache(maxsize=1024)
def _signed_payload(token: str, secret: str, algorithm: str) -> Mapping[str, Any]:
    """The payload of a token that has a valid signature and the required claims. Raises jwt.InvalidTokenError.

    A client sends its token with each request, so payloads are kept. Errors are not: only tokens that this application
    signed take memory.
    """
    return jwt.decode(
        token,
        secret,
        algorithms=[algorithm],
        options={
            "require": ["sub", "type", "exp", "iat", "jti", "sid"],
            # `read_token` checks them each time, against PostgreSQL's clock.
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        },
    )


def access_token_seconds_left(issued_at: datetime, *, now: datetime) -> int:
    """The `expires_in` of an access token: seconds until it expires, rounded up, or 0 if it has expired.

    A pair that is made again immediately has the same value as before.
    """
    lifetime: timedelta = settings.ACCESS_TOKEN_LIFETIME
    return max(0, math.ceil(min(lifetime, issued_at + lifetime - now).total_seconds()))
