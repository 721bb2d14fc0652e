"""Web processes that can summarize pages on one port of this machine; all others refuse this machine's pages."""

from __future__ import annotations

from pathlib import Path

from edgechat.local.web import WebServer


class LocalPagesServer(WebServer):
    """`pages_port` is the port, `seconds` the time limit of a page; the host name of a page does not matter."""

    def __init__(self, *, data_dir: Path, pages_port: int, seconds: float, workers: int = 2) -> None:
        env = {"LOCAL_PAGES_PORT": str(pages_port), "LOCAL_PAGES_SECONDS": str(seconds)}
        super().__init__(env, data_dir=data_dir, workers=workers, ready_path="/api/v1/health", name="pages")

    def command(self, port: int) -> list[str]:
        return [*super().command(port)[:-1], "ai.tests.local_pages_wsgi:application"]
