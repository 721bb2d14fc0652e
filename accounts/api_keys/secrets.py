"""The text of an API key, which only its user has, and the digest that is stored of it."""

from __future__ import annotations

import hashlib
import secrets

START = "ec_"
# Of the whole key: enough to tell a user's keys apart, and far too few to guess the rest.
PREFIX_CHARACTERS = 10


def new_key() -> str:
    """A key of 256 random bits."""
    return START + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """The key's SHA-256 in hexadecimal. A key is random, so no slower hash is needed against guesses."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
