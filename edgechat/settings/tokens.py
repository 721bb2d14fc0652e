"""The operator's one secret, the keys derived from it, and the lifetimes of tokens."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from marshmallow.validate import OneOf, Range

from edgechat.settings.deployment import DATA_DIR, DEVELOPMENT, env


def _development_secret(path: Path) -> str:
    """The secret in `path` (mode 0600), made on first use and kept with the data, so tokens survive a restart.

    Two processes that start at the same time use the same secret: a hard link publishes the complete file, and only one
    process can create the link.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


#: The older backends' name of `JWT_SECRET`.
_older_secret = env.str("SECRET_KEY", "")
#: Signs all tokens; 32 bytes or more. In development one is generated and kept in `DATA_DIR`.
JWT_SECRET = env.str("JWT_SECRET", "") or _older_secret
if not JWT_SECRET and DEVELOPMENT:
    JWT_SECRET = _development_secret(DATA_DIR / "jwt_secret")
if not JWT_SECRET:
    env.fault("JWT_SECRET", "required in production (32 bytes or more), for example from `openssl rand -hex 32`")
elif len(JWT_SECRET.encode()) < 32 and not DEVELOPMENT:
    env.fault("JWT_SECRET", "must have 32 bytes or more")
# A leaked key reveals no other key.
SECRET_KEY = hmac.new(JWT_SECRET.encode(), b"django-secret-key", hashlib.sha256).hexdigest()
#: The older backends' name of `JWT_ALGORITHM`.
_older_algorithm = env.str("ALGORITHM", "HS256")
#: How tokens are signed.
JWT_ALGORITHM = env.str("JWT_ALGORITHM", _older_algorithm, validate=OneOf(["HS256", "HS384", "HS512"]))
#: The older backends' name of `JWT_ACCESS_EXPIRE_MINUTES`.
_older_minutes = env.int("ACCESS_TOKEN_EXPIRE_MINUTES", 15)
#: How long an access token is valid.
_minutes = env.int("JWT_ACCESS_EXPIRE_MINUTES", _older_minutes, validate=Range(min=1, max=24 * 60))
ACCESS_TOKEN_LIFETIME = timedelta(minutes=_minutes or 15)
#: How long a refresh token is valid.
REFRESH_TOKEN_LIFETIME = timedelta(days=env.int("JWT_REFRESH_EXPIRE_DAYS", 7, validate=Range(min=1, max=365)) or 7)
