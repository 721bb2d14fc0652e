"""Logging: structured lines with the request id; JSON in production, readable text in development.

Request and response bodies and headers are never logged, so secrets never reach a log.
"""

from __future__ import annotations

import logging.config
import sys
from contextlib import suppress
from typing import Any, BinaryIO, cast

import structlog
from structlog.typing import Processor


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send the project's own records, Django's and gunicorn's to stderr, one line each.

    `level` is a logging level's name.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[Any] = (
        # Without the local variables of each frame, which hold passwords and messages.
        [
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
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # The access line has expected 4xx answers; Django would log each again as a warning.
                "django.request": {"level": "ERROR"},
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


class _Stderr:
    """A line that cannot be written, on a full disk for example, fails no request."""

    def write(self, line: bytes) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.buffer.write(line)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.buffer.flush()


def _encode(logger: Any, method: str, line: Any) -> bytes:
    encoded: bytes = line.encode(errors="backslashreplace")
    return encoded


def current_request_id() -> str:
    """The id of the request that this thread works for; "" outside of a request."""
    request_id: str = structlog.contextvars.get_contextvars().get("request_id", "")
    return request_id
