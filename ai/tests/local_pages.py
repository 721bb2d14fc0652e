"""Web processes that summarize pages of one port of this machine, as no others do."""

from __future__ import annotations

from pathlib import Path

from edgechat.local.web import WebServer


class LocalPagesServer(WebServer):
    """`pages_port` is that port, `seconds` what a page may take; the host of a page is any."""

    def __init__(self, *, data_dir: Path, pages_port: int, seconds: float, workers: int = 2) -> None:
        env = {"LOCAL_PAGES_PORT": str(pages_port), "LOCAL_PAGES_SECONDS": str(seconds)}
        super().__init__(env, data_dir=data_dir, workers=workers, ready_path="/api/v1/health", name="pages")

    def command(self, port: int) -> list[str]:
        return [*super().command(port)[:-1], "ai.tests.local_pages_wsgi:application"]
