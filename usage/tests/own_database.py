"""A database that no other test has, for what counts everybody."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections


@contextmanager
def own_database() -> Iterator[str]:
    """Its URL, for web processes. In this thread `django.db.connection` leads to it until the block ends."""
    name = f"own_{uuid.uuid4().hex}"
    usual = connections["default"]
    with usual.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    own = usual.copy()
    own.settings_dict["NAME"] = name
    connections["default"] = own
    try:
        call_command("migrate", verbosity=0)
        yield urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}").geturl()
    finally:
        own.close()
        connections["default"] = usual
        ContentType.objects.clear_cache()  # which has the ids of that database
        with usual.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
