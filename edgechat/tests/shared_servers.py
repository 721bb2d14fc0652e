"""The servers that all tests of a run share. They start when a test first needs them.

The process that controls the run chooses their ports and passwords, so that xdist's workers inherit the addresses. It
starts the servers when one of its workers, or one of its own tests, requests them by a socket in their folder, and
kills them at the end.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgechat.local.stack import Stack
from edgechat.local.web import READY_PATH, WebServer
from edgechat.tests.web_settings import APART

# A migrated database without rows of any test: `CREATE DATABASE … TEMPLATE` copies it in a moment.
MIGRATED = "migrated"


class SharedServers:
    """PostgreSQL, MongoDB's stand-in, Valkey, the scripted model and the web processes. Nothing is started."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edgechat-tests-"))
        mongo: Any = os.environ.get("LOCAL_MONGO", "secantus")
        self._stack = Stack(self._folder, durable=False, scripted=True, mongo=mongo)
        socket = str(self._folder / "wanted")
        os.environ |= {**self._stack.reserve(), "DATA_DIR": str(self._folder), "TEST_SERVERS": socket}
        # By settings: the address of the web processes, or the reason why they did not start.
        self._webs: dict[frozenset[tuple[str, str]], WebServer | str] = {}
        self._listener = Listener(socket, family="AF_UNIX")
        threading.Thread(target=self._serve, name=_STARTER, daemon=True).start()

    def end(self) -> None:
        """Kill the running servers, and delete their data."""
        for web in self._webs.values():
            if isinstance(web, WebServer):
                web.kill()
        self._stack.kill()
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        while True:
            try:
                caller = self._listener.accept()
            except OSError:  # closed
                return
            with caller:
                settings = frozenset(caller.recv())
                if settings not in self._webs:
                    try:
                        self._webs[settings] = self._start(dict(settings))
                    except Exception as error:
                        self._webs[settings] = f"{type(error).__name__}: {error}"
                web = self._webs[settings]
                caller.send((web.url, "") if isinstance(web, WebServer) else ("", web))

    def _start(self, settings: dict[str, str]) -> WebServer:
        if not self._webs:
            self._start_stores()
        web = WebServer(
            settings,
            data_dir=self._folder,
            workers=int(settings.get("WEB_CONCURRENCY", "1")) if settings else 2,
            ready_path="/api/v1/health" if settings else READY_PATH,
            name=f"web-{len(self._webs)}",
        )
        web.start()
        return web

    def _start_stores(self) -> None:
        import django
        import psycopg
        from django.core.management import call_command
        from django.db import connection
        from django.test import override_settings

        django.setup()
        self._stack.start()
        try:
            with open(os.devnull, "w") as nowhere:
                call_command("build_openapi", stdout=nowhere)
                call_command("migrate", verbosity=0)
                call_command("ensure_transcript_indexes", verbosity=0, stdout=nowhere)
                with override_settings(**APART):
                    call_command("ensure_transcript_indexes", verbosity=0, stdout=nowhere)
        finally:
            connection.close()
        # From another database, because a database with connections cannot be copied.
        url = urlsplit(os.environ["DATABASE_URL"])
        with psycopg.connect(url._replace(path="/postgres").geturl(), autocommit=True) as other:
            other.execute(f"CREATE DATABASE {MIGRATED} TEMPLATE {url.path[1:]}".encode())


_STARTER = "starts the shared servers"


@functools.cache
def shared_web(**settings: str) -> str:
    """The address of a web process with these settings. The stores run too.

    Without settings there are two processes; WEB_CONCURRENCY sets another number. All tests of a run share the process
    for the same settings. Raises RuntimeError, on each call, if it did not start.
    """
    with Client(os.environ["TEST_SERVERS"]) as run:
        run.send(list(settings.items()))
        url, fault = run.recv()
    if fault:
        raise RuntimeError(f"The tests' servers did not start. {fault}")
    return str(url)


def start_servers_for_connections() -> None:
    """Make the first connection to PostgreSQL start the servers, so that tests that import the code need no fixture."""
    from django.db.backends.postgresql.base import DatabaseWrapper

    connect = DatabaseWrapper.get_new_connection

    def start_and_connect(wrapper: DatabaseWrapper, params: dict[str, Any]) -> Any:
        if threading.current_thread().name != _STARTER:
            shared_web()
        return connect(wrapper, params)

    DatabaseWrapper.get_new_connection = start_and_connect  # type: ignore[method-assign, assignment]
