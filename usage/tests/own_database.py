"""A separate database, for tests that count all users."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections

from edgechat.tests.shared_servers import MIGRATED


@contextmanager
def own_database() -> Iterator[str]:
    """The database's URL, for web processes. `django.db.connection` of this thread uses it until the block ends."""
    name = f"own_{uuid.uuid4().hex}"
    usual = connections["default"]
    with usual.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {MIGRATED}")
    try:
        with database_at(url := urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}").geturl()):
            yield url
    finally:
        with usual.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def database_at(url: str) -> Iterator[None]:
    """The same for an existing database, which is migrated if it is empty."""
    usual, parts = connections["default"], urlsplit(url)
    own = usual.copy()
    own.settings_dict |= {
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": parts.path[1:],
    }
    connections["default"] = own
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        own.close()
        connections["default"] = usual
        ContentType.objects.clear_cache()  # it holds the ids of that database
