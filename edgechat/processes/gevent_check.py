"""Refuses to serve from a process in which one waiting request would stop all others."""

from __future__ import annotations

import gevent.monkey
import psycopg.waiting
from django.core.exceptions import ImproperlyConfigured


def require_patched_process() -> None:
    """Raise ImproperlyConfigured unless gevent patched the standard library before psycopg chose its waiting function.

    psycopg's waiting function in C blocks the whole process; under gevent it must use one of those in Python.
    """
    if not all(gevent.monkey.is_module_patched(name) for name in ("threading", "socket", "select", "ssl")):
        raise ImproperlyConfigured("gevent has not patched this process: start it with `gunicorn -c gunicorn.conf.py`")
    if psycopg.waiting.wait is getattr(psycopg.waiting, "wait_c", None):
        raise ImproperlyConfigured(
            f"psycopg waits with {psycopg.waiting.wait.__name__}, which blocks the whole process: "
            "gevent must patch before psycopg is imported"
        )
