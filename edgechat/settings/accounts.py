"""Users, passwords, e-mail."""

from __future__ import annotations

import re
from typing import Any

import dj_email_url

from edgechat.settings.deployment import DEVELOPMENT, PUBLIC_URL, env

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "accounts.login.password_hashers.OwaspArgon2PasswordHasher",
    "accounts.login.password_hashers.ImportedBCryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = (
    [] if DEVELOPMENT else [{"NAME": "accounts.login.passwords.NormalizedCommonPasswordValidator"}]
)
#: A superuser that is created at the start if absent, and never overwritten. Needs the next variable.
FIRST_SUPERUSER_EMAIL = env.str("FIRST_SUPERUSER_EMAIL", "")
#: That superuser's first password.
FIRST_SUPERUSER_PASSWORD = env.str("FIRST_SUPERUSER_PASSWORD", "")
if bool(FIRST_SUPERUSER_EMAIL) != bool(FIRST_SUPERUSER_PASSWORD):
    env.fault("FIRST_SUPERUSER_EMAIL", "goes with FIRST_SUPERUSER_PASSWORD: set both or neither")

#: The mail server, such as `submission://user:password@mail.example.com:587`. Unset: e-mails are printed in
#: development, and not sent in production.
EMAIL_URL = env.str("EMAIL_URL", "")
# In production without EMAIL_URL no e-mail is sent, and a system check reports that.
_email: dict[str, Any] = dj_email_url.parse(EMAIL_URL or ("console:" if DEVELOPMENT else "dummy:"))
if "EMAIL_BACKEND" not in _email:
    env.fault("EMAIL_URL", "must look like submission://user:password@mail.example.com:587")
EMAIL_BACKEND = _email.get("EMAIL_BACKEND", "")
EMAIL_HOST, EMAIL_PORT = _email["EMAIL_HOST"] or "localhost", _email["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_USER"] or "", _email["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _email["EMAIL_USE_TLS"], _email["EMAIL_USE_SSL"]
EMAIL_FILE_PATH = _email["EMAIL_FILE_PATH"] or None
EMAIL_TIMEOUT = 10
_mail_host = re.sub(r"^https?://|:.*$", "", PUBLIC_URL) or "localhost"
#: The sender of e-mails. Unset: no-reply at the host of `PUBLIC_URL`.
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM", "") or f"no-reply@{_mail_host}"
