"""What a measurement uses: CPU time by process, commands by store, memory and connections of the web processes."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg
import redis
from pymongo import MongoClient

from edgechat.local.stack import Stack
from edgechat.local.web import WebServer

_EVERY_SECONDS = 0.25
_IDLE_SECONDS = 3.0
_MEBIBYTE = 2**20

_CONNECTIONS = """
    SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%')
      FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

# Without the checks of foreign keys, which belong to statements.
_STATEMENTS = "SELECT sum(calls)::bigint FROM pg_stat_statements WHERE query NOT LIKE '%FOR KEY SHARE OF x'"


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
    """Samples memory and connections four times a second. `peak` is the highest of each figure since `begin`."""

    def __init__(self, web: WebServer, stack: Stack) -> None:
        assert stack.postgres is not None
        assert stack.mongo is not None
        assert stack.valkey is not None
        self._web = web
        self._servers = {"postgres": stack.postgres, "mongo": stack.mongo, "redis": stack.valkey}
        self._postgres = psycopg.connect(stack.postgres.url, autocommit=True)
        self._postgres.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self._postgres.execute("SET pg_stat_statements.track = 'none'")
        self._mongo: MongoClient[dict[str, Any]] = MongoClient(stack.mongo.url)
        self._redis = redis.Redis.from_url(stack.valkey.url)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self.peak = Holding()
        self._idle: dict[str, float] = {}

    def begin(self) -> dict[str, float]:
        """Discard the peak of earlier measurements. Returns the figures that `used_since` takes."""
        self.peak = Holding()
        self._look()
        return self._figures()

    def used_since(self, before: dict[str, float]) -> dict[str, float]:
        """`cpu.NAME` in seconds and `commands.STORE`, without what the processes send while nobody asks for anything.

        `commands.redis_reads` counts the times that Redis read from a connection: a pipeline is one.
        """
        now = self._figures()
        seconds = now["seconds"] - before["seconds"]
        return {name: max(0.0, now[name] - before[name] - self._idle.get(name, 0) * seconds) for name in now}

    def note_idle(self) -> None:
        """Measure what the processes do while no request comes."""
        before = self._figures()
        time.sleep(_IDLE_SECONDS)
        now = self._figures()
        seconds = now["seconds"] - before["seconds"]
        self._idle = {name: (now[name] - before[name]) / seconds for name in now if name.startswith("commands")}

    def open_transactions(self) -> int:
        """Connections that were returned, or forgotten, with an open transaction."""
        with self._lock:
            row = self._postgres.execute(_CONNECTIONS).fetchone()
        return int(row[1]) if row else 0

    def _figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        with self._lock:
            figures["cpu.web"] = sum(cpu_seconds(pid) for pid in self._web.pids)
            for name, server in self._servers.items():
                figures[f"cpu.{name}"] = cpu_seconds(server.pid)
            row = self._postgres.execute(_STATEMENTS).fetchone()
            figures["commands.postgres"] = int(row[0] or 0) if row else 0
            figures["commands.mongo"] = (
                self._mongo.admin.command("serverStatus").get("network", {}).get("numRequests", 0)
            )
            stats: dict[str, Any] = self._redis.info("commandstats")
            # The watch itself sends INFO.
            figures["commands.redis"] = sum(each["calls"] for name, each in stats.items() if name != "cmdstat_info")
            figures["commands.redis_reads"] = self._redis.info("stats").get("total_reads_processed", 0)
        figures["seconds"] = time.monotonic()
        return figures

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
        self.note_idle()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._postgres.close()
        self._mongo.close()
        self._redis.close()


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and of its descendants, those that have ended too. The time of a lost one is lost."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def _memory(master: int) -> float:
    """The memory of gunicorn's master, its workers, and the processes that read pages and pictures for them."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(master), *psutil.Process(master).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total / _MEBIBYTE
