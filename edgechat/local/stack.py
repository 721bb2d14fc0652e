"""All embedded servers of a run, started and stopped together."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edgechat.local.data_dir import DataDir
from edgechat.local.model import Model
from edgechat.local.mongo import MongoKind, Nx, Secantus, make_mongo
from edgechat.local.postgres import Postgres
from edgechat.local.server import Server
from edgechat.local.valkey import Valkey

Part = Literal["postgres", "valkey", "mongo", "model"]
ALL_PARTS: frozenset[Part] = frozenset(("postgres", "valkey", "mongo", "model"))
Report = Callable[[Server, float], None]
Waiting = Callable[[list[Server], float], None]


class Stack:
    """The embedded servers with one data folder, which is locked from `start` to `stop`."""

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        scripted: bool = False,
        gguf: Path | None = None,
        mongo: MongoKind = "secantus",
        parts: Iterable[Part] = ALL_PARTS,
    ) -> None:
        """Nothing is started. `durable=False` is for tests: no server then waits for the disk.

        `gguf` is the file of another model than the one that is installed.
        """
        self.data_dir = DataDir(data_dir)
        path, parts = self.data_dir.path, frozenset(parts)
        self.postgres = Postgres(path, durable=durable) if "postgres" in parts else None
        self.valkey = Valkey(path, durable=durable) if "valkey" in parts else None
        self.mongo: Secantus | Nx | None = make_mongo(mongo, path, durable=durable) if "mongo" in parts else None
        self.model = Model(path, scripted=scripted, gguf=gguf) if "model" in parts else None

    @property
    def servers(self) -> list[Server]:
        """The servers of the stack, running or not."""
        return [server for server in (self.postgres, self.valkey, self.mongo, self.model) if server is not None]

    @property
    def env(self) -> dict[str, str]:
        """The settings with the addresses of the running servers."""
        values: dict[str, str] = {}
        if self.postgres is not None:
            values["DATABASE_URL"] = self.postgres.url
        if self.mongo is not None:
            values["MONGODB_URL"] = self.mongo.url
        if self.valkey is not None:
            values["REDIS_URL"] = self.valkey.url
        if self.model is not None:
            values |= {"GEMINI_BASE_URL": self.model.url, "GEMINI_API_KEY": self.model.key}
        return values

    def reserve(self) -> dict[str, str]:
        """Lock the folder, and choose ports and passwords. Returns the settings that are valid once the servers run."""
        self.data_dir.acquire()
        for server in self.servers:
            server.reserve()
        return self.env

    def start(self, *, started: Report | None = None, waiting: Waiting | None = None) -> None:
        """Start all servers at the same time and return when all answer.

        This thread calls `started(server, seconds)` as each one answers, and `waiting(servers, seconds)` ten times a
        second with those that do not answer yet. Raises the LocalError of the first server that fails; then no server
        is left running.
        """
        self.data_dir.acquire()
        began = time.monotonic()
        took: dict[Server, float] = {}

        def start_one(server: Server) -> Server:
            server.start()
            took[server] = time.monotonic() - began
            return server

        try:
            with ThreadPoolExecutor(max_workers=max(1, len(self.servers))) as pool:
                try:
                    pending: set[Future[Server]] = {pool.submit(start_one, server) for server in self.servers}
                    while pending:
                        done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                        for future in done:
                            server = future.result()
                            if started is not None:
                                started(server, took[server])
                        if waiting is not None and pending:
                            waiting([one for one in self.servers if one not in took], time.monotonic() - began)
                except BaseException:
                    # This comes before the pool waits for its threads, which would go on starting servers.
                    self._end_all(lambda server: server.kill())
                    raise
        except BaseException:
            self.kill()  # again, for a server whose start began after the first kill
            raise

    def stop(self) -> None:
        """Stop all servers at the same time and release the folder. A second call does nothing."""
        self._end_all(lambda server: server.stop())
        self.data_dir.release()

    def kill(self) -> None:
        """Send SIGKILL to all servers and release the folder. For tests, whose data is not needed again."""
        self._end_all(lambda server: server.kill())
        self.data_dir.release()

    def _end_all(self, end: Callable[[Server], object]) -> None:
        with ThreadPoolExecutor(max_workers=max(1, len(self.servers))) as pool:
            list(pool.map(end, self.servers))

    def __enter__(self) -> Self:
        """A stack from `start_stack` is running already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_stack(
    data_dir: Path,
    *,
    durable: bool,
    scripted: bool,
    mongo: MongoKind = "secantus",
    parts: Iterable[Part] = ALL_PARTS,
) -> Stack:
    """A running stack. `parts` selects its servers.

    As root, every parent of `data_dir` must let other users through (a folder of `tempfile.mkdtemp` does, pytest's
    `tmp_path` does not). Raises LocalError when a server does not start, or another run has the folder.
    """
    stack = Stack(data_dir, durable=durable, scripted=scripted, mongo=mongo, parts=parts)
    stack.start()
    return stack


def start_valkey(data_dir: Path, *, name: str = "valkey-extra", durable: bool = True) -> Valkey:
    """One more Valkey, with its own folder below `data_dir`. The caller stops it.

    `kill()` and `start()` restart it on the same port and data.
    """
    server = Valkey(data_dir.absolute(), durable=durable, name=name)
    server.start()
    return server


def start_mongo(data_dir: Path, *, kind: MongoKind = "secantus", name: str = "mongo-extra") -> Secantus | Nx:
    """One more Mongo-wire server, like `start_valkey`."""
    server = make_mongo(kind, data_dir.absolute(), name=name)
    server.start()
    return server
