"""The login lock: at most five failed logins for one e-mail address in 15 minutes, from any client.

A device on which the account was logged in before (accounts.login.devices) has its own count, so attackers do not lock
out the user. A session that checks its user's password also has its own count. PostgreSQL counts, so the limit does not
depend on Redis. One atomic statement counts an attempt before the password check, so at most five simultaneous attempts
run; the others wait for the results. The stored key is a keyed hash, because users also type other secrets into the
e-mail field.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.addresses import email_key
from accounts.models import LoginAttempts
from edgechat.errors import RateLimited
from edgechat.metrics import catalog
from edgechat.processes.threads import waiting
from edgechat.stores import store_time

MAX_FAILURES = 5
WINDOW = timedelta(minutes=15)
# An older attempt was not completed because its process died; it counts as failed.
RUNNING_FOR = timedelta(seconds=20)
# How long, in seconds, an attempt waits at most for the running ones (longer with a longer STORE_TIMEOUT_SECONDS), and
# how often it polls. The interval grows, as a request may wait for PostgreSQL for several seconds in total.
WAIT_SECONDS, POLL_SECONDS, LONGEST_POLL_SECONDS = 5, 0.05, 0.25

_BEGIN = f"""
    INSERT INTO "{LoginAttempts._meta.db_table}" AS a (key, failed_at, running_since, last_at)
    VALUES (%(key)s, '{{}}', ARRAY[%(now)s], %(now)s)
    ON CONFLICT (key) DO UPDATE
       SET failed_at = ARRAY(SELECT t FROM unnest(a.failed_at) t WHERE t > %(since)s),
           running_since = ARRAY(SELECT t FROM unnest(a.running_since) t WHERE t > %(since)s) || %(now)s,
           last_at = %(now)s
     WHERE (SELECT count(*) FROM unnest(a.failed_at || a.running_since) t WHERE t > %(since)s) < %(limit)s
"""  # noqa: S608  (the name of our own table)
_FAIL = f"""
    UPDATE "{LoginAttempts._meta.db_table}"
       SET failed_at = failed_at || %(now)s, running_since = array_remove(running_since, %(now)s)
     WHERE key = %(key)s
"""  # noqa: S608


class LoginLocked(RateLimited):
    code, detail = "login_locked", "Too many failed logins for this e-mail address, try again later"


@dataclass(frozen=True)
class LoginAttempt:
    """A counted attempt. `fail` or `succeed` completes it; without either it counts as a failure."""

    key: str
    began_at: datetime

    def fail(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_FAIL, {"key": self.key, "now": self.began_at})

    def succeed(self) -> None:
        """Delete the count of earlier failures."""
        LoginAttempts.objects.filter(key=self.key).delete()


def begin_login(email: str, *, device: str | None = None) -> LoginAttempt:
    """Count a login attempt for an e-mail address as typed. Raises LoginLocked.

    `device`: the id of a device that knows the account, or None.
    """
    return _begin(_email_key(email) if device is None else _key("device", device))


def begin_password_check(session_id: UUID) -> LoginAttempt:
    """Count a check of the password of a session's user. Raises LoginLocked."""
    return _begin(_key("session", str(session_id)))


def _begin(key: str) -> LoginAttempt:
    most = max(WAIT_SECONDS, settings.STORE_TIMEOUT_SECONDS)
    give_up = time.monotonic() + min(most, store_time.seconds_left() or most)
    pause = POLL_SECONDS
    while True:
        now = timezone.now()
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN, {"key": key, "now": now, "since": now - WINDOW, "limit": MAX_FAILURES})
            if cursor.rowcount:
                return LoginAttempt(key, now)
        attempts = LoginAttempts.objects.filter(key=key).first()
        if attempts is not None and all(began < now - RUNNING_FOR for began in attempts.running_since):
            counted = sorted([*attempts.failed_at, *attempts.running_since])[-MAX_FAILURES:]
            raise _locked((counted[0] + WINDOW - now).total_seconds())
        if time.monotonic() > give_up:
            raise _locked(RUNNING_FOR.total_seconds())
        with waiting(counted=True):
            time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_POLL_SECONDS)


def _locked(seconds: float) -> LoginLocked:
    catalog.rate_limited.labels("login_lock").inc()
    return LoginLocked(retry_after=seconds)


def forget_failures(email: str) -> None:
    """Unlock an e-mail address immediately."""
    LoginAttempts.objects.filter(key=_email_key(email)).delete()


def prune_login_attempts() -> int:
    """Delete the counts of addresses without recent attempts. Returns the number of deleted rows."""
    return LoginAttempts.objects.filter(last_at__lt=timezone.now() - 2 * WINDOW).delete()[0]


def _email_key(email: str) -> str:
    # The same key as in the lookup of the user; otherwise each spelling would have its own five attempts.
    return _key("email", email_key(email))


def _key(kind: str, name: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()
