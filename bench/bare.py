"""The least that a request can cost: gunicorn's gevent worker with an application that answers a constant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgechat.local.ports import HOST
from edgechat.local.web import WebServer

_BODY = b'{"status":"ok"}'
_HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", _HEADERS)
    return [_BODY]


class BareServer(WebServer):
    """gunicorn with `application`, and as many workers as the web server that it is compared with."""

    label = "Bare gunicorn"

    def __init__(self, *, data_dir: Path, workers: int) -> None:
        project = Path(__file__).parents[1]
        env = {"PYTHONPATH": str(project)}
        super().__init__(env, data_dir=data_dir, workers=workers, name="bare", ready_path="/")

    def command(self, port: int) -> list[str]:
        options = ["--worker-class", "gevent", "--bind", f"{HOST}:{port}", "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *options, "bench.bare:application"]

    def working_folder(self) -> Path:
        return self.folder  # without the project's gunicorn.conf.py
