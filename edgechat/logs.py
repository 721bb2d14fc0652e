"""Logging: structured lines with the request id; JSON in production, readable text in development.

Request and response bodies and headers are never logged, so secrets never reach a log.
"""

from __future__ import annotations

import atexit
import io
import logging.config
import os
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO, TextIO, cast

import structlog
from django.core.exceptions import ImproperlyConfigured
from structlog.typing import Processor

from edgechat.telemetry import exceptions

REQUEST_FIELDS = ("request_id", "user_id", "session_id", "route")


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send the project's own records, Django's and gunicorn's to stderr, one line each.

    `level` is a logging level's name.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        exceptions.report,
    ]
    final: list[Any] = (
        # Without the local variables of each frame, which hold passwords and messages.
        [
            _add_request_fields,
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
                }
            },
            "filters": {"exceptions": {"()": lambda: _is_exception}, "reasons": {"()": lambda: _has_reason}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": _real(sys.stderr)}
            },
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # The access line has every answer; Django would log each of 4xx and 5xx again. It has the exceptions.
                "django.request": {"level": "ERROR", "filters": ["exceptions"]},
                # The same for requests that Django refuses, for example with a wrong host: the line names the reason.
                "django.security": {"level": "CRITICAL"},
                "django.security.csrf": {"level": "WARNING"},
                "psycopg.pool": {"filters": ["reasons"]},
                "httpx2": {"level": "WARNING"},
                "google_genai": {"level": "WARNING"},
                "pymongo": {"level": "WARNING"},
            },
        }
    )
    # The project's own lines are written directly: a LogRecord and its formatter would cost a fifth of a small request.
    structlog.configure(
        processors=[*shared, *final, _encode],
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, _Stderr())),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def _is_exception(record: logging.LogRecord) -> bool:
    """Whether Django logs a fault of the application, and not an answer, such as that a store is away."""
    return record.exc_info is not None and getattr(record, "status_code", 500) == 500


def _has_reason(record: logging.LogRecord) -> bool:
    """psycopg's pool logs a connection that failed with the reason, and at once again that it gives up."""
    return not str(record.msg).startswith("reconnection attempt")


def log_everything() -> None:
    """Make log lines also of warnings, of exceptions that nothing catches, and of what code prints. For servers."""
    logging.captureWarnings(True)
    logger = structlog.get_logger(__name__)

    def log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any, **more: str) -> None:
        if isinstance(error, ImproperlyConfigured):
            logger.critical(str(error))  # faulty settings at the start: their names help, and a traceback does not
        else:
            logger.critical("uncaught_exception", exc_info=(kind, error, trace), **more)

    sys.excepthook = log_uncaught
    threading.excepthook = lambda args: log_uncaught(
        args.exc_type, args.exc_value, args.exc_traceback, thread=args.thread.name if args.thread else ""
    )
    sys.unraisablehook = lambda args: log_uncaught(
        args.exc_type, args.exc_value, args.exc_traceback, where=args.err_msg or repr(args.object)
    )
    if not isinstance(sys.stderr, _Printed):
        atexit.register(_end_log)
    sys.stdout, sys.stderr = _Printed(_real(sys.stdout)), _Printed(_real(sys.stderr))


def _end_log() -> None:
    """Discard what Python itself prints after the last line of the program, for example of sockets left open."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


class _Printed(io.TextIOBase):
    """Makes a log line of each line that is printed to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.buffer = stream.buffer
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            structlog.get_logger(__name__).warning("printed", text=line)
        return len(text)

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True


def _real(stream: TextIO) -> TextIO:
    return stream.stream if isinstance(stream, _Printed) else stream


class _Stderr:
    """A line that cannot be written, on a full disk for example, fails no request."""

    def write(self, line: bytes) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.buffer.flush()


def _add_request_fields(logger: Any, method: str, line: Any) -> Any:
    """Outside of a request the fields are null, so that every line has them."""
    for name in REQUEST_FIELDS:
        line.setdefault(name, None)
    return line


def _encode(logger: Any, method: str, line: Any) -> bytes:
    encoded: bytes = line.encode(errors="backslashreplace")
    return encoded


def current_request_id() -> str:
    """The id of the request that this thread works for; "" outside of a request."""
    request_id: str = structlog.contextvars.get_contextvars().get("request_id", "")
    return request_id
