#!/usr/bin/env python
"""EdgeChat's commands for operators: `./manage.py help` lists them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dotenv import dotenv_values

PROJECT = Path(__file__).parent


def join_make_run() -> None:
    """Give a command the environment of a running `make run`, unless a variable or the .env file names one."""
    given = {**dotenv_values(PROJECT / os.environ.get("ENV_FILE", ".env")), **os.environ}
    if given.get("ENVIRONMENT"):
        return
    running = dotenv_values(PROJECT / (given.get("DATA_DIR") or ".data") / "run.env")
    if environment := running.get("ENVIRONMENT"):
        os.environ["ENVIRONMENT"] = environment


def main() -> None:
    join_make_run()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError
    from pymongo.errors import ConnectionFailure
    from redis.exceptions import ConnectionError as RedisConnectionError

    from edgechat.stores import pooler

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, ConnectionFailure) else error
        if not isinstance(cause, (OperationalError, ConnectionFailure, RedisConnectionError)):
            raise
        if pooler.refuses_options(cause):
            sys.exit(f"{pooler.ADVICE}.")
        reason = str(cause).strip().splitlines()[0][:200]
        sys.exit(f"A store does not answer: start EdgeChat with `make run`, or set its URL. ({reason})")


if __name__ == "__main__":
    main()
