"""The web processes' memory and store connections during a measurement."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil
import psycopg
import redis

from edgechat.local.web import WebServer

_EVERY_SECONDS = 0.25
_MEBIBYTE = 2**20

_CONNECTIONS = """
    SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')
      FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

_STATEMENTS = """
    SELECT query, sum(calls)::bigint FROM pg_stat_statements WHERE query NOT LIKE '%FOR KEY SHARE OF x' GROUP BY query
"""


@dataclass(frozen=True)
class Holding:
    """`memory` is in MiB of PSS, of gunicorn's master and its workers: a page that they share counts once."""

    memory: float = 0.0
    postgres: int = 0
    redis: int = 0

    def peak(self, other: Holding) -> Holding:
        """The higher value of each figure."""
        return Holding(max(self.memory, other.memory), max(self.postgres, other.postgres), max(self.redis, other.redis))


class Watch:
    """Samples four times a second. `peak` is the highest of each figure since `begin`."""

    def __init__(self, web: WebServer, *, postgres_url: str, redis_url: str) -> None:
        self._web = web
        self._postgres = psycopg.connect(postgres_url, autocommit=True)
        self._redis = redis.Redis.from_url(redis_url)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self.peak = Holding()

    def begin(self) -> None:
        """Discard the peak of earlier measurements."""
        self.peak = Holding()
        self._look()

    def web_cpu_seconds(self) -> float:
        """The workers' CPU time since their start. The time of a worker that died is lost."""
        total = 0.0
        for pid in self._web.pids:
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
        return total

    def open_transactions(self) -> int:
        """Connections that were returned, or forgotten, with an open transaction."""
        with self._lock:
            row = self._postgres.execute(_CONNECTIONS).fetchone()
        return int(row[1]) if row else 0

    def redis_commands(self) -> Counter[str]:
        """Redis commands by name, including those in scripts; without INFO, which the watch itself sends."""
        with self._lock:
            stats = self._redis.info("commandstats")
        return Counter({name: int(stat["calls"]) for name, stat in stats.items() if name != "cmdstat_info"})

    def statements(self) -> Counter[str]:
        """How often PostgreSQL has run each statement, without the checks of foreign keys that belong to statements."""
        with self._lock:
            self._postgres.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            return Counter(dict(self._postgres.execute(_STATEMENTS).fetchall()))

    def _repeat(self) -> None:
        while not self._ending.wait(_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._lock:
            row = self._postgres.execute(_CONNECTIONS).fetchone()
            clients = int(self._redis.info("clients")["connected_clients"]) - 1  # without the watch's own connection
        now = Holding(_memory(self._web.pid), int(row[0]) if row else 0, clients)
        self.peak = self.peak.peak(now)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._postgres.close()
        self._redis.close()


def _memory(master: int) -> float:
    """The memory of gunicorn's master, its workers, and the processes that read pages and pictures for them."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(master), *psutil.Process(master).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total / _MEBIBYTE
