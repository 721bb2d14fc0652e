"""Each real embedded server: acknowledged data survives a stop and a SIGKILL, on the same port."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymongo
import pymongo.errors
import pytest
import redis

from edgechat.local import server as server_module
from edgechat.local.mongo import Nx, Secantus
from edgechat.local.ports import free_port
from edgechat.local.postgres import Postgres
from edgechat.local.process import LocalError
from edgechat.local.server import Server
from edgechat.local.stack import start_mongo, start_valkey
from edgechat.local.valkey import Valkey


def _write_postgres(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def _read_postgres(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value")]


def _write_valkey(url: str, value: int) -> None:
    with redis.Redis.from_url(url) as client:
        client.rpush("kept", value)


def _read_valkey(url: str) -> list[int]:
    with redis.Redis.from_url(url) as client:
        values: Any = client.lrange("kept", 0, -1)
        return [int(value) for value in values]


def _write_mongo(url: str, value: int) -> None:
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        client.edgechat.kept.insert_one({"_id": value})


def _read_mongo(url: str) -> list[int]:
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        return sorted(document["_id"] for document in client.edgechat.kept.find())


Store = tuple[Server, Callable[[str, int], None], Callable[[str], list[int]]]


@pytest.fixture(params=["postgres", "valkey", "secantus", "nx"])
def store(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Store]:
    stores: dict[str, Store] = {
        "postgres": (Postgres(data_dir), _write_postgres, _read_postgres),
        "valkey": (Valkey(data_dir), _write_valkey, _read_valkey),
        "secantus": (Secantus(data_dir), _write_mongo, _read_mongo),
        "nx": (Nx(data_dir), _write_mongo, _read_mongo),
    }
    chosen = stores[request.param]
    yield chosen
    chosen[0].kill()


def test_acknowledged_data_and_the_port_outlive_a_stop_and_a_sigkill(store: Store) -> None:
    server, write, read = store
    server.start()
    url = server.url
    write(url, 1)
    assert server.is_healthy()

    ended_by_itself = server.stop()
    # SecantusDB's own shutdown hangs sometimes. `stop` then kills it, and its journal has every write.
    assert ended_by_itself or isinstance(server, Secantus)
    assert not server.is_running()
    assert not server.is_healthy()
    server.start()
    assert server.url == url
    write(url, 2)
    server.kill()
    assert not server.is_running()
    server.start()

    assert server.url == url
    assert read(url) == [1, 2]
    assert server.version
    assert server.log_path.stat().st_mode & 0o777 == 0o600


def test_a_port_that_another_process_took_first_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    server, write, read = store
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        answers = iter([taken])
        monkeypatch.setattr(server_module, "free_port", lambda: next(answers, None) or free_port())
        server.start()
        assert server.port != taken
        write(server.url, 1)
        assert read(server.url) == [1]


_READ: dict[type[Server], Callable[[str], list[int]]] = {
    Postgres: _read_postgres,
    Valkey: _read_valkey,
    Secantus: _read_mongo,
}


@pytest.mark.parametrize("make", [Postgres, Valkey, Secantus])
def test_the_password_is_needed(make: type[Postgres | Valkey | Secantus], data_dir: Path) -> None:
    server = make(data_dir)
    server.start()
    try:
        password = (server.folder / "password").read_text()
        assert password in server.url
        assert (server.folder / "password").stat().st_mode & 0o777 == 0o600
        wrong = server.url.replace(password, "wrong")
        with pytest.raises((psycopg.OperationalError, redis.AuthenticationError, pymongo.errors.OperationFailure)):
            _READ[make](wrong)
    finally:
        server.kill()


def test_without_a_password_mongodb_shows_and_takes_nothing(data_dir: Path) -> None:
    server = Secantus(data_dir)
    server.start()
    try:
        _write_mongo(server.url, 1)
        anybody = f"mongodb://{server.address}"
        with pytest.raises(pymongo.errors.OperationFailure):
            _read_mongo(anybody)
        with pytest.raises(pymongo.errors.OperationFailure):
            _write_mongo(anybody, 2)
        with pymongo.MongoClient[dict[str, Any]](anybody) as client, pytest.raises(pymongo.errors.OperationFailure):
            client.admin.command("createUser", "mallory", pwd="mallory", roles=["root"])
        assert _read_mongo(server.url) == [1]
    finally:
        server.kill()


def test_a_store_from_before_there_was_a_password_gets_one(data_dir: Path) -> None:
    port = free_port()
    folder = data_dir / "secantus"
    folder.mkdir()
    store = ["--storage-path", str(folder / "data"), "--port", str(port), "--standalone", "--sync-on-commit"]
    with subprocess.Popen([sys.executable, "-m", "secantus", *store], cwd=folder) as earlier:
        _write_mongo(f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=60000", 1)
        earlier.terminate()
    server = Secantus(data_dir)
    server.start()
    try:
        assert _read_mongo(server.url) == [1]
        with pytest.raises(pymongo.errors.OperationFailure):
            _read_mongo(f"mongodb://{server.address}")
    finally:
        server.kill()


def test_extra_servers_have_folders_of_their_own(data_dir: Path) -> None:
    valkey, mongo = start_valkey(data_dir), start_mongo(data_dir)
    try:
        assert valkey.is_healthy()
        assert mongo.is_healthy()
        assert {valkey.folder, mongo.folder} == {data_dir / "valkey-extra", data_dir / "mongo-extra"}
    finally:
        valkey.kill()
        mongo.kill()


def test_a_server_that_ends_at_its_start_says_so_with_its_log(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Valkey(data_dir)
    monkeypatch.setattr(server, "command", lambda _: ["/bin/sh", "-c", "echo no room on this disk; exit 9"])
    with pytest.raises(LocalError) as raised:
        server.start()
    assert "exit code 9" in str(raised.value)
    assert "no room on this disk" in str(raised.value)
    assert str(server.log_path) in str(raised.value)


def test_a_server_that_never_answers_is_given_up_and_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Valkey(data_dir)
    server.start_seconds = 0.3
    monkeypatch.setattr(server, "command", lambda _: ["/bin/sh", "-c", "exec tail -f /dev/null"])
    with pytest.raises(LocalError, match="did not answer within"):
        server.start()
    assert not server.is_running()
