"""gunicorn's log lines in the form of all others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import gevent.hub
import structlog
from gunicorn.config import Config
from gunicorn.glogging import Logger as GunicornLogger

from edgechat.environment import Environment
from edgechat.logs import configure_logging, log_everything

_PROJECT = Path(__file__).parents[2]


class Logger(GunicornLogger):
    """Configures the log of the master and its workers before the settings are read, which may be faulty."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        env = Environment()
        env.read_file(_PROJECT / env.str("ENV_FILE", ".env"))
        as_json = env.str("ENVIRONMENT", "production") != "development"
        configure_logging(level=logging.getLevelName(self.loglevel), as_json=as_json)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        if as_json:
            log_everything()
            gevent.hub.Hub.print_exception = _log_greenlet


def _log_greenlet(hub: Any, context: Any, kind: Any, error: Any, trace: Any) -> None:
    """In place of gevent's traceback of an exception that ended a greenlet."""
    structlog.get_logger(__name__).error("greenlet_failed", greenlet=repr(context), exc_info=(kind, error, trace))
