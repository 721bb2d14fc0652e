"""The doctor command's checks of PostgreSQL, MongoDB, Redis and the disk. They change nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from edgechat.management.diagnosis import Finding, State, address
from edgechat.stores import pooler
from edgechat.stores.mongo import database
from edgechat.stores.redis import redis_client

# The indexes that conversations.transcript_repository.ensure_indexes creates on every server; a test compares the two.
TRANSCRIPT_INDEXES: Mapping[str, frozenset[str]] = {
    "conversations": frozenset(
        {
            "creation_key_once",
            "organization_archived_updated",
            "owner_change",
            "owner_temporary_archived_change",
            "owner_temporary_archived_pinned_change",
            "source_key_once",
            "temporary_ttl",
            "written_by",
        }
    ),
    "messages": frozenset(
        {"client_message_once", "owner_created_conversation_seq", "rating_created", "status_created", "temporary_ttl"}
    ),
    "tombstones": frozenset({"owner_change", "tombstone_ttl", "unpurged"}),
}

ALMOST_FULL = 0.8
GIB = 1024**3
LOW_DISK, NO_DISK = 2 * GIB, GIB // 4


def check_postgres() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
    except OperationalError as error:
        if not pooler.refuses_options(error):
            raise
        yield Finding("PostgreSQL", State.FAULT, pooler.ADVICE)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT current_setting('server_version'), current_setting('max_connections')::int,
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
            """
        )
        version, limit, used = cursor.fetchone()
    yield Finding("PostgreSQL", State.OK, f"{version} at {address(settings.DATABASE_URL)}")
    executor = MigrationExecutor(connection)
    missing = [
        f"{step.app_label}.{step.name}" for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())
    ]
    if missing:
        text = f"{len(missing)} to apply, the first is {missing[0]}: run `manage.py migrate`"
        yield Finding("PostgreSQL migrations", State.FAULT, text)
    else:
        yield Finding("PostgreSQL migrations", State.OK, f"all {len(executor.loader.applied_migrations)} applied")
    yield _check_postgres_indexes()
    text = f"{used} of {limit} used"
    if used < limit * ALMOST_FULL:
        yield Finding("PostgreSQL connections", State.OK, text)
    else:
        text += ": lower DATABASE_POOL_SIZE or WEB_CONCURRENCY, or raise max_connections"
        yield Finding("PostgreSQL connections", State.WARNING, text)


def _check_postgres_indexes() -> Finding:
    """An index is not valid if its creation beside running processes was interrupted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), min(indexrelid::regclass::text) FROM pg_index WHERE NOT indisvalid")
        invalid, first = cursor.fetchone()
    if not invalid:
        return Finding("PostgreSQL indexes", State.OK, "all valid")
    text = f"not valid: {invalid}, the first is {first}; run `REINDEX INDEX CONCURRENTLY {first}` in PostgreSQL"
    return Finding("PostgreSQL indexes", State.FAULT, text)


def check_mongo() -> Iterator[Finding]:
    transcripts = database()
    info: dict[str, Any] = transcripts.command("buildInfo")
    found = f"{info['version']} at {address(settings.MONGODB_URL)}"
    # MongoDB's own server names its script engine; servers that only speak its protocol do not.
    if "javascriptEngine" in info:
        yield Finding("MongoDB", State.OK, found)
    else:
        makers = [key.removesuffix("Version") for key in info if key.endswith("Version") and key != "gitVersion"]
        found = f"{' '.join(makers) or 'a stand-in'}, which speaks MongoDB {found}"
        state = State.OK if settings.DEVELOPMENT else State.WARNING
        yield Finding("MongoDB", state, found if state == State.OK else f"{found}: use MongoDB itself in production")
    missing = [
        f"{collection}.{name}"
        for collection, names in TRANSCRIPT_INDEXES.items()
        for name in sorted(names - set(transcripts[collection].index_information()))
    ]
    if missing:
        text = f"missing: {', '.join(missing)}; run `manage.py ensure_transcript_indexes`"
        yield Finding("MongoDB indexes", State.FAULT, text)
    else:
        count = sum(map(len, TRANSCRIPT_INDEXES.values()))
        yield Finding("MongoDB indexes", State.OK, f"all {count} there")


def check_redis() -> Iterator[Finding]:
    info: dict[str, Any] = redis_client().info()
    version = f"Valkey {info['valkey_version']}" if "valkey_version" in info else str(info["redis_version"])
    yield Finding("Redis", State.OK, f"{version} at {address(settings.REDIS_URL)}")
    used, limit = int(info["used_memory"]), int(info.get("maxmemory") or 0)
    text = f"{_mib(used)} of {_mib(limit)} used" if limit else f"{_mib(used)} used, no limit set"
    if limit and used >= limit * ALMOST_FULL:
        yield Finding("Redis memory", State.WARNING, f"{text}: raise maxmemory")
    else:
        yield Finding("Redis memory", State.OK, text)
    policy = str(info.get("maxmemory_policy") or "noeviction")
    if policy == "noeviction":
        yield Finding("Redis eviction", State.OK, policy)
    else:
        lost = "rate limits and replies" if policy.startswith("volatile-") else "uncollected request counts"
        text = f"{policy} loses {lost} when memory runs out: set maxmemory-policy to noeviction"
        yield Finding("Redis eviction", State.WARNING, text)


def check_disk() -> Iterator[Finding]:
    """Check the free space in DATA_DIR, which may not exist yet.

    It holds pictures and uploads, and in development the embedded servers' data.
    """
    folder: Path = settings.DATA_DIR
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / GIB:.1f} GiB free in {folder}"
    if free >= LOW_DISK:
        yield Finding("Disk", State.OK, text)
    else:
        state = State.FAULT if free < NO_DISK else State.WARNING
        yield Finding("Disk", state, f"{text}: make room, or choose another DATA_DIR")


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"
