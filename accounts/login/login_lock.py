"""At most five failed logins for one e-mail in 15 minutes, whoever tries and from wherever.

A device on which the account was logged in before (accounts.login.devices) has a count of its own, so that attackers
lock out attackers; and so has a session that is asked for its user's password.

PostgreSQL counts, so that the limit holds without Redis. An attempt is counted by one atomic statement before its
password is looked at: of many at once no more than the limit are under way, and the others wait to see how these end.
What is kept is a keyed hash, for people type other secrets into the field of the e-mail too.
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
from edgechat.processes.threads import waiting

MAX_FAILURES = 5
WINDOW = timedelta(minutes=15)
# An attempt that is older was not ended, because its process died: it counts as failed.
RUNNING_FOR = timedelta(seconds=20)
# How long another attempt waits for those under way, and how often it looks: ever more rarely, as a request may wait
# for PostgreSQL for some seconds in all.
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
    """An attempt that was counted, to be ended by `fail` or `succeed`; left alone it counts as a failure."""

    key: str
    began_at: datetime

    def fail(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_FAIL, {"key": self.key, "now": self.began_at})

    def succeed(self) -> None:
        """Forget the failures that came before."""
        LoginAttempts.objects.filter(key=self.key).delete()


def begin_login(email: str, *, device: str | None = None) -> LoginAttempt:
    """Count an attempt to log in with an e-mail as it was typed; `device`: on a device that knows the account.

    Raises LoginLocked.
    """
    return _begin(_email_key(email) if device is None else _key("device", device))


def begin_password_check(session_id: UUID) -> LoginAttempt:
    """Count an attempt to give the password of a session's user. Raises LoginLocked."""
    return _begin(_key("session", str(session_id)))


def _begin(key: str) -> LoginAttempt:
    give_up, pause = time.monotonic() + WAIT_SECONDS, POLL_SECONDS
    while True:
        now = timezone.now()
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN, {"key": key, "now": now, "since": now - WINDOW, "limit": MAX_FAILURES})
            if cursor.rowcount:
                return LoginAttempt(key, now)
        attempts = LoginAttempts.objects.filter(key=key).first()
        if attempts is not None and all(began < now - RUNNING_FOR for began in attempts.running_since):
            counted = sorted([*attempts.failed_at, *attempts.running_since])[-MAX_FAILURES:]
            raise LoginLocked(retry_after=(counted[0] + WINDOW - now).total_seconds())
        if time.monotonic() > give_up:
            raise LoginLocked(retry_after=RUNNING_FOR.total_seconds())
        with waiting():
            time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_POLL_SECONDS)


def forget_failures(email: str) -> None:
    """Let an e-mail's next login be tried at once."""
    LoginAttempts.objects.filter(key=_email_key(email)).delete()


def prune_login_attempts() -> int:
    """Forget e-mails that nobody has tried for longer than their failures count; how many."""
    return LoginAttempts.objects.filter(last_at__lt=timezone.now() - 2 * WINDOW).delete()[0]


def _email_key(email: str) -> str:
    # As the user is found: or every spelling would have five attempts of its own.
    return _key("email", email_key(email))


def _key(kind: str, name: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), f"{kind}:{name}".encode(), hashlib.sha256).hexdigest()
