"""Logging: structured lines with the request id; JSON in production, readable text in development.

Request and response bodies and headers are never logged, so secrets never reach a log.
"""

from __future__ import annotations

import logging.config
from typing import Any

import structlog
from structlog.typing import Processor


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send Django's, gunicorn's and the project's own records to stderr, one line each.

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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def current_request_id() -> str:
    """The id of the request that this thread works for; "" outside of a request."""
    request_id: str = structlog.contextvars.get_contextvars().get("request_id", "")
    return request_id
