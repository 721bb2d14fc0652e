"""Runs checks in parallel, each with a time limit, and reports their findings without secrets."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from django.conf import settings

from edgechat.processes.threads import release_database

_URL_LOGIN = re.compile(r"//([^/\s]*)@")
_URL_PASSWORD = re.compile(r"(?i)([?&][a-z]*password=)[^&\s]*")


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """`text`: what was found and, unless the state is `ok`, what to do about it."""

    check: str
    state: State
    text: str


@dataclass(frozen=True)
class Check:
    """`run` is abandoned after `seconds`. `advice` is what to do when it raises or does not end.

    `unknown`: the state of its finding then: a check that depends on a store leaves the fault to that store's check.
    """

    name: str
    run: Callable[[], Iterable[Finding]]
    seconds: float
    advice: str
    unknown: State = State.FAULT


def diagnose(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run the checks at the same time. Yields their findings in the given order, as soon as they are known."""
    running = [_Running(check) for check in checks]
    for one in running:
        yield from one.findings()


class _Running:
    """A check in a daemon thread: a check that hangs does not keep the process from ending."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Finding] | None = None
        self._deadline = time.monotonic() + check.seconds
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        if self._found is not None:
            return self._found
        text = f"no answer within {self._check.seconds:g} s; {self._check.advice}"
        return [Finding(self._check.name, self._check.unknown, text)]

    def _run(self) -> None:
        try:
            found = list(self._check.run())
        except Exception as error:  # a driver may raise anything, and the operator wants to know it
            found = [Finding(self._check.name, self._check.unknown, f"{reason(error)}; {self._check.advice}")]
        finally:
            release_database()
        self._found = found


def reason(error: Exception) -> str:
    """The type of an exception and the first line of its text, without secrets."""
    lines = without_secrets(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def without_secrets(text: str) -> str:
    """The text with the logins in URLs, and every secret of the settings, masked."""
    text = _URL_PASSWORD.sub(r"\1***", _URL_LOGIN.sub("//***@", text))
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def address(url: str) -> str:
    """Host, port and database of a store's URL."""
    return re.sub(r"^[a-z+]+://", "", url).rpartition("@")[2].partition("?")[0]


def _secrets() -> set[str]:
    secrets = {settings.JWT_SECRET, settings.SECRET_KEY, settings.GEMINI_API_KEY, settings.FIRST_SUPERUSER_PASSWORD}
    secrets |= {settings.EMAIL_HOST_PASSWORD, settings.SENTRY_DSN}
    for url in (settings.DATABASE_URL, settings.MONGODB_URL, settings.REDIS_URL):
        login = re.search(r"//(.*)@", url)
        password = login[1].partition(":")[2] if login else ""
        secrets |= {password, unquote(password)}
    # A shorter secret protects nothing, and masking it would blank out half of a message.
    return {secret for secret in secrets if len(secret) >= 4}
