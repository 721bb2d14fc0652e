"""Another machine: a network namespace with an address, a loopback, a host name and a folder of its own.

A virtual cable connects it with this machine, where the stores and the model run. It needs root, or a user namespace.
The namespace and its cable end with the last process in it, and its processes end with the one that started them, so
nothing is left even if a test is killed.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from edgechat.local.process import ChildProcess, wait_until
from edgechat.local.web import WebServer
from edgechat.tests.store_proxy import StoreProxy

# Reserved for tests of networks (RFC 2544): a pair of addresses of it for each cable.
_NETWORK = "198.18"
# No interface has it: who is told that it is the other end's sends into nothing.
_NOBODY = "02:00:00:00:00:01"
_CABLE = re.compile(r"ec(\d+)m\d+")
_STORES = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL", "GEMINI_BASE_URL")


class Machine:
    """Reaches the stores at this machine's end of the cable, `gateway`. `url` is the address of its gunicorn."""

    _made = 0

    def __init__(self, folder: Path, **settings: str) -> None:
        """Nothing is started. The settings are those of its gunicorn."""
        Machine._made += 1
        self._folder = folder
        self._settings = settings
        self.cable = f"ec{os.getpid()}m{Machine._made}"
        pair = f"{_NETWORK}.{random.randrange(256)}.{4 * random.randrange(64)}"
        self.gateway, self.address = (re.sub(r"\d+$", lambda last: str(int(last[0]) + n), pair) for n in (1, 2))  # noqa: B023
        self.proxies: dict[str, StoreProxy] = {}
        self._holder: ChildProcess | None = None
        self.web: _Gunicorn | None = None

    @property
    def url(self) -> str:
        assert self.web is not None
        return self.web.url

    @property
    def enter(self) -> list[str]:
        """The beginning of a command that runs on the machine."""
        assert self._holder is not None
        return ["/usr/bin/nsenter", "--target", str(self._holder.pid), "--net", "--uts", "--"]

    def start(self) -> None:
        """Start it with one web process."""
        self.connect()
        self.proxies = {name: StoreProxy(os.environ[name], host=self.gateway) for name in _STORES}
        (self._folder / "data").mkdir()
        (self._folder / "data" / "openapi").symlink_to(Path(os.environ["DATA_DIR"]) / "openapi")
        env = {name: proxy.url for name, proxy in self.proxies.items()}
        # What a deployment's machines share besides the stores.
        env["JWT_SECRET"] = (Path(os.environ["DATA_DIR"]) / "jwt_secret").read_text().strip()
        env |= {"DATA_DIR": str(self._folder / "data"), **self._settings}
        self.web = _Gunicorn(self, env, data_dir=self._folder, workers=1)
        self.web.start()

    def connect(self) -> None:
        """Make the namespace and its cable."""
        remove_leftovers()
        command = ["/usr/bin/unshare", "--net", "--uts", "sleep", "infinity"]
        self._holder = ChildProcess(command, log_path=self._folder / "machine.log", cwd=self._folder)
        ours = os.readlink("/proc/self/ns/uts")
        pid = self._holder.pid
        assert wait_until(lambda: os.readlink(f"/proc/{pid}/ns/uts") != ours, seconds=60), self._holder.log_text()
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        ip("address", "add", f"{self.gateway}/30", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        self.run("hostname", "elsewhere")
        for words in ("link set lo up", f"address add {self.address}/30 dev eth0", "link set eth0 up"):
            self.run("ip", *words.split())

    def run(self, *command: str, timeout: float = 60) -> str:
        """The output of a command on the machine."""
        return subprocess.run(
            [*self.enter, *command], capture_output=True, text=True, check=True, timeout=timeout
        ).stdout

    def ask_itself(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a GET that comes from the machine itself: no cable is needed."""
        assert self.web is not None
        url = f"http://127.0.0.1:{self.web.port}/api/v1/{path}"
        status, _, body = self.run(sys.executable, "-c", _ASK, url, token).partition("\n")
        return int(status), json.loads(body)

    def unplug(self) -> None:
        """The machine sees at once that it has no network."""
        self.run("ip", "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        self.run("ip", "link", "set", "eth0", "up")

    def silence(self) -> None:
        """Lose every packet in both directions: neither end sees that anything has changed."""
        there = f"neighbour replace {self.gateway} lladdr {_NOBODY} dev eth0 nud permanent"
        self.run("ip", *there.split())
        ip(*f"neighbour replace {self.address} lladdr {_NOBODY} dev {self.cable} nud permanent".split())

    def end_silence(self) -> None:
        self.run("ip", *f"neighbour del {self.gateway} dev eth0".split())
        ip(*f"neighbour del {self.address} dev {self.cable}".split())

    def end(self) -> None:
        """Kill all of its processes. A second call does nothing."""
        if self.web is not None:
            self.web.kill()
        for proxy in self.proxies.values():
            proxy.close()
        if self._holder is not None:
            self._holder.kill()
        wait_until(lambda: self.cable not in cables(), seconds=60)


_ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
try:
    answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode(), sep="\\n")
"""


class _Gunicorn(WebServer):
    """gunicorn on a machine, reached through the cable."""

    def __init__(self, machine: Machine, env: Mapping[str, str], *, data_dir: Path, workers: int) -> None:
        super().__init__(env, data_dir=data_dir, workers=workers, ready_path="/api/v1/health")
        self._machine = machine

    @property
    def address(self) -> str:
        return f"{self._machine.address}:{self.port}"

    def command(self, port: int) -> list[str]:
        program = [word.replace("127.0.0.1:", "0.0.0.0:") for word in super().command(port)]
        return [*self._machine.enter, *program]

    def listens(self, port: int) -> bool:
        return True  # nobody else is in its namespace; `check` asks it


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=60).stdout


def cables() -> list[str]:
    """The cables of machines, at this end."""
    names: list[str] = [link["ifname"] for link in json.loads(ip("-json", "link") or "[]")]
    return [name for name in names if _CABLE.fullmatch(name)]


def remove_leftovers() -> None:
    """Remove the cables of runs that were killed and left a process."""
    for name in cables():
        found = _CABLE.fullmatch(name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False, timeout=60)
