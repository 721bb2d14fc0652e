"""Prometheus and its promtool, from Debian's package: for tests only, `make deploy-test`."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgechat.local import debian
from edgechat.local.ports import HOST
from edgechat.local.process import LocalError
from edgechat.local.server import Server

_PACKAGE = "prometheus"
# Calls on this machine must not go through a proxy from the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def install_prometheus() -> int:
    """Unpack Prometheus into the virtual environment, unless the system has it or it is there."""
    return debian.unpack("promtool", _PACKAGE)


def promtool(*arguments: str, folder: Path) -> tuple[int, str]:
    """The exit code and the output of a promtool command in `folder`."""
    return debian.output_of("promtool", _PACKAGE, *arguments, folder=folder)


class Prometheus(Server):
    """Prometheus with a configuration file, in whose folder it starts. It keeps its data below `data_dir`."""

    label = "Prometheus"

    def __init__(self, configuration: Path, data_dir: Path) -> None:
        super().__init__("prometheus", data_dir)
        self._configuration = configuration

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def prepare(self) -> None:
        pass

    def command(self, port: int) -> list[str]:
        return [
            str(debian.require("prometheus", _PACKAGE)),
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address={HOST}:{port}",
        ]

    def check(self) -> None:
        try:
            with _open(f"{self.url}/-/ready", timeout=5):
                return
        except urllib.error.HTTPError as error:
            raise LocalError(f"/-/ready answers {error.code}") from None

    def ask(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The data of an answer of its API: `ask("query", {"query": "up"})`. Raises LocalError for an error."""
        query = urllib.parse.urlencode(parameters or {})
        try:
            with _open(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise LocalError(f"{path}: {error.read().decode()}") from None
