"""How passwords are hashed, and the hashes of older backends that are still accepted at login and replaced there."""

from __future__ import annotations

import base64
import re

import bcrypt
from django.contrib.auth.hashers import Argon2PasswordHasher, BCryptPasswordHasher

# The cost doubles with each round, and grows with memory: a hash that takes long to check keeps others waiting,
# and the time of its check would tell that there is such a user. Argon2's is that of its memory times its passes.
MAX_BCRYPT_ROUNDS, MAX_ARGON2_KIB = 12, 256 * 1024
# bcrypt never looked further; the library refuses more since its version 5, where the older backends cut it off.
BCRYPT_BYTES = 72

# Of the salt's last character four bits are no longer the salt's, and must be zero.
_BCRYPT = re.compile(r"\$2[aby]\$(?P<rounds>\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=(?P<kib>\d{1,10}),t=(?P<passes>\d{1,10}),p=\d{1,3}"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<hash>[A-Za-z0-9+/]{16,86})",
    re.ASCII,
)


class OwaspArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2id with the parameters that OWASP's Password Storage Cheat Sheet names first: 19 MiB, 2 passes, 1 lane."""

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1


class ImportedBCryptPasswordHasher(BCryptPasswordHasher):
    """bcrypt of the password itself, as passlib and bcrypt made it. Only checked: logging in replaces the hash."""

    def encode(self, password: str, salt: bytes) -> str:  # type: ignore[override]
        data = bcrypt.hashpw(password.encode()[:BCRYPT_BYTES], salt)
        return f"{self.algorithm}${data.decode('ascii')}"

    def verify(self, password: str, encoded: str) -> bool:
        hashed = encoded.partition("$")[2].encode("ascii")
        # The library compares in constant time, and takes $2a$, $2b$ and $2y$ for what they are: the same.
        return bcrypt.checkpw(password.encode()[:BCRYPT_BYTES], hashed)


def stored_form(older_hash: str) -> str | None:
    """A bcrypt or Argon2id hash of an older backend as the password column holds it; None for anything else."""
    if bcrypted := _BCRYPT.fullmatch(older_hash):
        return f"bcrypt${older_hash}" if 4 <= int(bcrypted["rounds"]) <= MAX_BCRYPT_ROUNDS else None
    if argon2 := _ARGON2ID.fullmatch(older_hash):
        fast = int(argon2["kib"]) * int(argon2["passes"]) <= MAX_ARGON2_KIB
        return f"argon2{older_hash}" if fast and _is_base64(argon2["salt"]) and _is_base64(argon2["hash"]) else None
    return None


def _is_base64(text: str) -> bool:
    """Whether this stands for whole bytes; Argon2 writes no padding."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return False
    return base64.b64encode(decoded).decode().rstrip("=") == text
