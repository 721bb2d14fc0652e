"""Passwords are hashed and compared in Unicode normalization form NFKC, so that the keyboard does not matter."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth.hashers import verify_password as verify_exactly
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.validators import MaxLengthValidator, MinLengthValidator

# Lengths of the normalized password in characters, so that the keyboard does not matter.
MIN_PASSWORD, MAX_PASSWORD = 8, 128
# In characters as typed. The time of the normalization is quadratic for some texts.
MAX_TYPED = 1024


def normalized(password: str) -> str:
    """The form that is hashed. A text that is too long for a password is returned unchanged."""
    return unicodedata.normalize("NFKC", password) if len(password) <= MAX_TYPED else password


def verify_password(password: str, encoded: str) -> tuple[bool, bool]:
    """Whether the password is correct, and whether its hash has to be replaced.

    Hashes from before the normalization, and hashes of older backends, are of the password as typed.
    """
    matches, is_outdated = verify_exactly(normalized(password), encoded)
    if not matches and normalized(password) != password:
        matches, _ = verify_exactly(password, encoded)
        is_outdated = True
    return matches, is_outdated


def refuse_length(password: str) -> None:
    """Raises ValidationError."""
    for validate in (MinLengthValidator(MIN_PASSWORD), MaxLengthValidator(MAX_PASSWORD)):
        validate(normalized(password))


class NormalizedCommonPasswordValidator(CommonPasswordValidator):
    def validate(self, password: str, user: Any = None) -> None:
        super().validate(normalized(password), user)
