"""Two independent servers that speak MongoDB's wire protocol: SecantusDB (the default) and NX-27017.

No package index has a MongoDB server to install. docs/ lists how each of the two differs from one.
"""

import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from edgechat.local.ports import HOST
from edgechat.local.process import LocalError
from edgechat.local.secantus_server import USER
from edgechat.local.server import Server

MongoKind = Literal["secantus", "nx"]

_PROJECT = Path(__file__).parents[2]


class _Mongo(Server):
    module: str
    distribution: str

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}"

    def prepare(self) -> None:
        self.folder.chmod(0o700)
        if find_spec(self.module) is None:
            raise LocalError(
                f"{self.label}'s wheel is missing, or there is none for Python {platform.python_version()}."
                " Install it with pip install -r requirements-dev.txt, choose the other server with LOCAL_MONGO=nx or"
                " LOCAL_MONGO=secantus, or run a MongoDB and set MONGODB_URL."
            )

    def check(self) -> None:
        import pymongo  # here, because a driver's import takes longer than most other steps of a start

        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
            self.url, serverSelectionTimeoutMS=2000, directConnection=True
        )
        try:
            with client:
                client.admin.command("ping")
        except pymongo.errors.PyMongoError as error:
            raise LocalError(str(error)) from error
        self.version = version(self.distribution)


class Secantus(_Mongo):
    """SecantusDB over WiredTiger, with a password (SCRAM-SHA-256) that is kept with its data.

    With `durable`, each write is on the disk before its answer. Without it, a killed process loses its last writes.
    """

    label = "SecantusDB"
    module = "secantus"
    distribution = "SecantusDB"
    still_held = ("WiredTiger.lock", "Resource busy", "already being managed")
    # Two seconds are usual. When its shutdown hangs, a kill loses no acknowledged write.
    stop_seconds = 10.0

    def __init__(self, data_dir: Path, *, durable: bool = True, name: str = "secantus") -> None:
        super().__init__(name, data_dir)
        self._durable = durable

    @property
    def url(self) -> str:
        return f"mongodb://{USER}:{self.password}@{self.address}/?authSource=admin"

    def prepare(self) -> None:
        super().prepare()
        _ = self.password  # the server reads its file

    def working_folder(self) -> Path:
        return _PROJECT

    def command(self, port: int) -> list[str]:
        folder = self.folder
        paths = ["--storage-path", str(folder / "data"), "--password-file", str(folder / "password")]
        durable = ["--durable"] if self._durable else []
        return [sys.executable, "-m", "edgechat.local.secantus_server", "--port", str(port), *paths, *durable]


class Nx(_Mongo):
    """NX-27017 over SQLite. By default its pid file, log and data would be the same for the whole machine.

    It supports neither passwords nor Unix sockets: every user of the machine can read its data.
    """

    label = "NX-27017"
    module = "nx_27017"
    distribution = "nx-27017"

    def __init__(self, data_dir: Path, *, durable: bool = True, name: str = "nx") -> None:
        super().__init__(name, data_dir)

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        # A killed server leaves the file, and the next one trusts it if another process now has that id.
        (self.folder / "pid").unlink(missing_ok=True)

    def command(self, port: int) -> list[str]:
        store = self.folder / "data"
        paths = [f"--data-dir={store}", f"--pid-file={self.folder / 'pid'}", f"--log-file={self.folder / 'log'}"]
        start = "import sys; from nx_27017.nx_27017 import main; sys.exit(main())"
        return [sys.executable, "-c", start, "--host", HOST, "--port", str(port), *paths]


def make_mongo(kind: MongoKind, data_dir: Path, *, durable: bool = True, name: str | None = None) -> Secantus | Nx:
    """A server of that kind, not started. Each kind has its own folder unless `name` overrides it."""
    server: type[Secantus | Nx] = Secantus if kind == "secantus" else Nx
    return server(data_dir, durable=durable) if name is None else server(data_dir, durable=durable, name=name)


def default_kind() -> MongoKind:
    """The kind without an explicit choice: SecantusDB if it is installed (it has no wheel for Python 3.14 yet)."""
    return "secantus" if find_spec("secantus") is not None else "nx"
