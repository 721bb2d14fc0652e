"""Password hashers, including the hashes of older backends, which are accepted at login and replaced there."""

from __future__ import annotations

import base64
import re

import bcrypt
from django.contrib.auth.hashers import Argon2PasswordHasher, BCryptPasswordHasher

# The cost of bcrypt doubles with each round, and the cost of Argon2 is its memory times its passes. A slow check delays
# other requests, and its time would show that the user exists.
MAX_BCRYPT_ROUNDS, MAX_ARGON2_KIB = 12, 256 * 1024
# bcrypt uses 72 bytes only. The library rejects more since version 5; the older backends truncated the password.
BCRYPT_BYTES = 72

# The last character of the salt has four unused bits, which must be zero.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<rounds>\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(?P<kib>\d{1,10}),t=(?P<passes>\d{1,10}),p=\d{1,3}"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<hash>[A-Za-z0-9+/]{16,86})",
    re.ASCII,
)


class OwaspArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2id with the first parameters of OWASP's Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane."""

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1


class ImportedBCryptPasswordHasher(BCryptPasswordHasher):
    """bcrypt of the password itself, as passlib and bcrypt wrote it.

    For checks only: a login replaces the hash.
    """

    def encode(self, password: str, salt: bytes) -> str:  # type: ignore[override]
        data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt)
        return f"{self.algorithm}${data.decode('ascii')}"

    def verify(self, password: str, encoded: str) -> bool:
        hashed = encoded.partition("$")[2].encode("ascii")
        # The library compares in constant time and treats $2a$, $2b$ and $2y$ as the same algorithm.
        return bcrypt.checkpw(password.encode()[:BCRYPT_BYTES], hashed)


def stored_form(older_hash: str) -> str | None:
    """The stored form of an older backend's bcrypt or Argon2id hash, or None for anything else."""
    if bcrypted := _BCRYPT.fullmatch(older_hash):
        return f"bcrypt${older_hash}" if 4 <= int(bcrypted["rounds"]) <= MAX_BCRYPT_ROUNDS else None
    if argon2 := _ARGON2ID.fullmatch(older_hash):
        fast = int(argon2["kib"]) * int(argon2["passes"]) <= MAX_ARGON2_KIB
        return f"argon2{older_hash}" if fast and _is_base64(argon2["salt"]) and _is_base64(argon2["hash"]) else None
    return None


def _is_base64(text: str) -> bool:
    """Whether this is valid Base64 of whole bytes. Argon2 writes no padding."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return False
    return base64.b64encode(decoded).decode().rstrip("=") == text
