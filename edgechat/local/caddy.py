"""Caddy, from Debian's package, with the file of deploy/caddy: for tests only, `make deploy-test`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgechat.local import debian
from edgechat.local.ports import free_port
from edgechat.local.process import LocalError
from edgechat.local.server import Server

_PACKAGE = "caddy"
_CADDYFILE = Path(__file__).parents[2] / "deploy" / "caddy" / "Caddyfile"
_UPSTREAM = "reverse_proxy app:8000 "


def install_caddy() -> int:
    """Unpack Caddy into the virtual environment, unless the system has it or it is there."""
    return debian.unpack(_PACKAGE, _PACKAGE)


def validate(public_host: str) -> tuple[int, str]:
    """The exit code and the output of Caddy's own check of the file, with this name."""
    arguments = ("validate", "--adapter", "caddyfile", "--config", str(_CADDYFILE))
    environment = {**os.environ, "PUBLIC_HOST": public_host}
    return debian.output_of(_PACKAGE, _PACKAGE, *arguments, environment=environment)


class Caddy(Server):
    """TLS for `localhost` in front of an address, with a certificate of Caddy's own authority, `authority`."""

    label = "Caddy"

    def __init__(self, upstream: str, data_dir: Path) -> None:
        super().__init__("caddy", data_dir)
        self._upstream = upstream
        self.plain_port = free_port()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def authority(self) -> Path:
        return self.folder / "storage" / "pki" / "authorities" / "local" / "root.crt"

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PUBLIC_HOST": "localhost", "HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}

    def prepare(self) -> None:
        text = _CADDYFILE.read_text()
        if _UPSTREAM not in text:
            raise LocalError(f"{_CADDYFILE} has no {_UPSTREAM.strip()}")
        # What is for tests only: ports that anybody may use, its own folder, and no change of the system's trust.
        options = f"""{{
	admin off
	http_port {self.plain_port}
	https_port {self.port}
	skip_install_trust
	storage file_system {self.folder / "storage"}
}}
"""
        changed = text.replace(_UPSTREAM, f"reverse_proxy {self._upstream} ")
        (self.folder / "Caddyfile").write_text(options + changed)

    def command(self, port: int) -> list[str]:
        program = str(debian.require(_PACKAGE, _PACKAGE))
        return [program, "run", "--adapter", "caddyfile", "--config", str(self.folder / "Caddyfile")]

    def listens(self, port: int) -> bool:
        return self.authority.exists()  # it listens on all addresses, also on those of IPv6

    def check(self) -> None:
        if not self.authority.exists():
            raise LocalError("it has no certificate yet")
