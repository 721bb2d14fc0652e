"""A PostgreSQL database, a MongoDB database and a Redis that only one test, or one module, uses.

They belong together. A web process moves the requests of its Redis into its database, the position in that stream is a
row of the database, and which processes' replies may be taken over is known there too. A process with another mixture
takes other tests' requests and replies away. So `check_stores` refuses to start it.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgechat.tests.shared_servers import MIGRATED, shared_web


@dataclass(frozen=True)
class OwnStores:
    """The databases' name, and the settings of processes that use these stores."""

    name: str
    env: dict[str, str]

    @property
    def database_url(self) -> str:
        return self.env["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        return self.env["REDIS_URL"]

    def rows(self, query: str, *values: object) -> list[Any]:
        import psycopg

        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()


@contextmanager
def new_stores(*, redis_url: str | None = None, migrated: bool = True) -> Iterator[OwnStores]:
    """New stores in the shared servers; with `redis_url`, the Redis of a server that the test has started.

    There are tables and indexes if they are `migrated`.
    """
    import psycopg
    import pymongo
    import redis
    from django.test import override_settings
    from psycopg import sql

    from conversations.transcript_repository import ensure_indexes

    shared_web()
    name = f"own_{uuid.uuid4().hex}"
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    shared_redis = redis.Redis.from_url(os.environ["REDIS_URL"])
    if redis_url is None:
        # Each has one of the databases of the shared server, and no database is used twice.
        number = shared_redis.incr("tests:databases")
        redis_url = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()
    database, template = sql.Identifier(name), sql.Identifier(MIGRATED if migrated else "template1")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, template))
    try:
        if migrated:
            with override_settings(MONGODB_DB=name):
                ensure_indexes()
        yield OwnStores(name, {"DATABASE_URL": url, "MONGODB_DB": name, "REDIS_URL": redis_url})
    finally:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
        with pymongo.MongoClient[dict[str, Any]](os.environ["MONGODB_URL"]) as client:
            client.drop_database(name)
        shared_redis.close()


@contextmanager
def using(env: Mapping[str, str]) -> Iterator[None]:
    """The code that tests call uses the stores of these settings until the block ends, in new threads too."""
    from django.conf import settings
    from django.contrib.contenttypes.models import ContentType
    from django.db import connections
    from django.test import override_settings

    from usage import processes

    shared_web()  # it must start before its settings change
    check_stores({**os.environ, **env})
    usual, usual_settings = connections["default"], connections.settings["default"]
    parts = urlsplit(env["DATABASE_URL"])
    connections.settings["default"] = {
        **usual_settings,
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": parts.path[1:],
    }
    own = connections["default"] = connections.create_connection("default")
    caches = {name: {**each, "LOCATION": env["REDIS_URL"]} for name, each in settings.CACHES.items()}
    ContentType.objects.clear_cache()  # it holds the ids of a database
    try:
        with override_settings(**env, CACHES=caches), pytest.MonkeyPatch.context() as patched:
            # This process has a row in each database, and a connection that renews it.
            patched.setattr(processes, "_name", "")
            patched.setattr(processes, "_connection", None)
            patched.setattr(processes, "_renewed_at", -processes.LEASE_SECONDS)
            patched.setattr(processes, "_alive", frozenset())
            yield
            if processes._connection is not None:
                processes._connection.close()
    finally:
        own.close()
        connections.settings["default"] = usual_settings
        connections["default"] = usual
        ContentType.objects.clear_cache()


@contextmanager
def own_stores(*, redis_url: str | None = None) -> Iterator[OwnStores]:
    """New stores, which the code that tests call uses too."""
    with new_stores(redis_url=redis_url) as stores, using(stores.env):
        yield stores


def check_stores(env: Mapping[str, str]) -> None:
    """Raises AssertionError for the settings of a process whose stores do not belong together.

    A proxy in front of a store counts as that store. An address where nothing listens goes with all.
    """
    names = [name for name in ("DATABASE_URL", "REDIS_URL") if not _is_dead(env.get(name, ""))]
    shared = {_store(env[name]) == _store(os.environ[name]) for name in names if name in os.environ}
    advice = "Give it stores that belong together: start_web(**own_stores.env), with the fixture own_stores."
    assert len(shared) < 2, (
        "This process would have its own database and the shared Redis, or the reverse, and take requests of other"
        f" tests away. {advice}"
    )
    same_mongo = env.get("MONGODB_DB") == os.environ.get("MONGODB_DB") and (
        env.get("MONGODB_URL") == os.environ.get("MONGODB_URL")
    )
    assert shared != {False} or "DATABASE_URL" not in names or not same_mongo, (
        "This process would have its own database and the shared MongoDB database, and take over replies of other"
        f" tests. {advice}"
    )


def _is_dead(url: str) -> bool:
    """Whether it is no address, or that of a port where tests let nothing listen."""
    found = re.search(r"@?[\w.-]+:(\d+)(/|$)", url)
    return found is None or int(found[1]) in (1, 9)


def _store(url: str) -> tuple[str | None, str]:
    """What a store has in common with a proxy in front of it: its server's password, and the database."""
    parts = urlsplit(url)
    return parts.password, parts.path


def check_each_process() -> None:
    """Check the stores of each process that a test starts, whatever starts it."""
    start: Any = subprocess.Popen.__init__

    def check_and_start(popen: Any, *args: Any, env: Mapping[str, str] | None = None, **options: Any) -> None:
        if env is not None:
            check_stores(env)
        start(popen, *args, env=env, **options)

    subprocess.Popen.__init__ = check_and_start  # type: ignore[method-assign, assignment]
