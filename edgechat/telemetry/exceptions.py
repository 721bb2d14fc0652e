"""Sends the exceptions of the log to Sentry, if SENTRY_DSN is set: their types and stacks, and no texts.

No request, body, user, local variable or text of an exception leaves this process: any of them may hold what users
write.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from edgechat import __version__

# The fields of a log line that go along.
_TAGS = ("request_id", "route", "logger")
_sdk: Any = None


def start() -> None:
    """Called once in a worker, after the fork. Does nothing without SENTRY_DSN."""
    global _sdk
    if not settings.SENTRY_DSN:
        return
    import sentry_sdk

    sentry_sdk.init(
        settings.SENTRY_DSN,
        environment=settings.ENVIRONMENT,
        release=__version__,
        # They would read requests, breadcrumbs and the machine's environment.
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        send_default_pii=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        shutdown_timeout=0.5,
        before_send=only_stacks,
    )
    _sdk = sentry_sdk


def stop() -> None:
    """Send the last exceptions, for half a second at most."""
    if _sdk is not None:
        _sdk.get_client().close(timeout=0.5)


def report(logger: Any, method: str, line: Any) -> Any:
    """A step of structlog's: report a line with an exception, at level `error` or higher."""
    if _sdk is not None and method in ("error", "critical", "exception") and (error := line.get("exc_info")):
        with _sdk.new_scope() as scope:
            for name in _TAGS:
                if line.get(name) is not None:
                    scope.set_tag(name, line[name])
            _sdk.capture_exception(None if error is True else error)
    return line


def only_stacks(event: Any, hint: Any) -> Any:
    """Sentry's event with nothing but the types of the exceptions and the places in the code."""
    for name in ("request", "user", "breadcrumbs", "extra", "logentry", "message", "modules", "server_name"):
        event.pop(name, None)
    for each in event.get("exception", {}).get("values", []):
        each["value"] = ""
        for frame in (each.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    return event
