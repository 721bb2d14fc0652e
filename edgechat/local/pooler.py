"""PgBouncer, which shares PostgreSQL's connections between transactions: for tests only.

No Python or npm package has it, so its tests are a target of their own, `make pooler-test`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgechat.local import debian
from edgechat.local.data_dir import write_secret
from edgechat.local.ports import HOST
from edgechat.local.process import Identity, LocalError
from edgechat.local.server import Server
from edgechat.local.unprivileged import give_folder, identity_for, let_pass

_PACKAGE = "pgbouncer"


def install_pooler() -> int:
    """Unpack PgBouncer into the virtual environment, unless the system has it or it is there."""
    return debian.unpack(_PACKAGE, _PACKAGE, with_libraries="libevent|libc-ares|libcares")


class PgBouncer(Server):
    """A pooler of transactions in front of all databases of a server, with a few connections for each database."""

    label = "PgBouncer"

    def __init__(self, target: str, data_dir: Path, *, connections: int, name: str = "pgbouncer") -> None:
        """`target` is PostgreSQL's URL, with a user and a password."""
        super().__init__(name, data_dir)
        self._target = urlsplit(target)
        self._data_dir = data_dir
        self._connections = connections
        self._identity: Identity | None = None

    @property
    def url(self) -> str:
        login = self._target.netloc.rpartition("@")[0]
        return self._target._replace(netloc=f"{login}@{self.address}").geturl()

    def identity(self) -> Identity | None:
        return self._identity

    def environment(self) -> dict[str, str] | None:
        return {"LD_LIBRARY_PATH": str(self.folder)}

    def prepare(self) -> None:
        self._identity = identity_for(self.folder / "run")
        let_pass(self._data_dir, self._identity)
        give_folder(self.folder, self._identity)  # PgBouncer refuses to run as root
        for file in (debian.require(_PACKAGE, _PACKAGE), *debian.libraries(_PACKAGE)):
            if not (self.folder / file.name).exists():
                shutil.copy(file, self.folder, follow_symlinks=True)

    def command(self, port: int) -> list[str]:
        user, password = unquote(self._target.username or ""), unquote(self._target.password or "")
        users, configuration = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        for former in (users, configuration):
            former.unlink(missing_ok=True)
        write_secret(users, f'"{user}" "{password}"\n')
        write_secret(
            configuration,
            f"""[databases]
* = host={self._target.hostname} port={self._target.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {self._connections}
max_client_conn = 1000
""",
        )
        if self._identity is not None:
            for file in (users, configuration):
                shutil.chown(file, self._identity.uid, self._identity.gid)
        return [str(self.folder / "pgbouncer"), str(configuration)]

    def check(self) -> None:
        import psycopg

        try:
            with psycopg.connect(self.url, connect_timeout=5, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise LocalError(str(error)) from error
