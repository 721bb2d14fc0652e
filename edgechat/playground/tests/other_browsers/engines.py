"""The engine of Safari, and Firefox, driven by their own protocols: WebDriver over HTTP, and WebDriver BiDi."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from edgechat.local import debian
from edgechat.local.server import Server

SECONDS = 120.0


class Browser(Server):
    """A browser with one page."""

    start_seconds = SECONDS
    package: str

    @abstractmethod
    def open(self, address: str) -> None:
        """Load a page. Returns once it has been loaded."""

    @abstractmethod
    def reload(self) -> None:
        """Load the page again."""

    @abstractmethod
    def run(self, script: str, *given: Any) -> Any:
        """Run the body of a function in the page, with `given` as its `arguments`, and return what it returns."""

    def prepare(self) -> None:
        (self.folder / "profile").mkdir(exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        # Nothing of the person who runs the tests, and no graphics card.
        return {**os.environ, "HOME": str(self.folder), "LIBGL_ALWAYS_SOFTWARE": "1", "NO_AT_BRIDGE": "1"}


class WebKit(Browser):
    """WebKitGTK's driver, which opens a window: it needs a display, for example of `xvfb-run`."""

    label = "WebKit"
    package = "webkit2gtk-driver"
    not_ready = (OSError, httpx.HTTPError)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def command(self, port: int) -> list[str]:
        return [str(debian.require("WebKitWebDriver", self.package)), f"--port={port}"]

    def check(self) -> None:
        httpx.get(f"{self.url}/status", trust_env=False).raise_for_status()

    def start(self) -> None:
        super().start()
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=SECONDS)
        self._session = ""
        self._session = f"/session/{self._ask('POST', '/session', capabilities={})['sessionId']}"

    def stop(self) -> bool:
        self._ask("DELETE", "")
        self._client.close()
        return super().stop()

    def open(self, address: str) -> None:
        self._ask("POST", "/url", url=address)

    def reload(self) -> None:
        self._ask("POST", "/refresh")

    def run(self, script: str, *given: Any) -> Any:
        return self._ask("POST", "/execute/sync", script=script, args=given)

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._client.request(method, self._session + path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]


class Firefox(Browser):
    """Firefox without a window, with a profile of its own."""

    label = "Firefox"
    package = "firefox-esr"
    not_ready = (OSError, WebSocketException)

    @property
    def url(self) -> str:
        return f"ws://{self.address}/session"

    def command(self, port: int) -> list[str]:
        found = debian.program("firefox", "firefox") or debian.require("firefox-esr", self.package)
        profile = str(self.folder / "profile")
        return [str(found), "--headless", "--no-remote", "--profile", profile, f"--remote-debugging-port={port}"]

    def check(self) -> None:
        with self._connect():
            pass

    def start(self) -> None:
        super().start()
        self._open = ExitStack()
        self._connection = self._open.enter_context(self._connect())
        self._count = 0
        self._ask("session.new", capabilities={})
        self._page = self._ask("browsingContext.getTree")["contexts"][0]["context"]

    def stop(self) -> bool:
        self._ask("session.end")
        self._open.close()
        return super().stop()

    def open(self, address: str) -> None:
        self._ask("browsingContext.navigate", context=self._page, url=address, wait="complete")

    def reload(self) -> None:
        self._ask("browsingContext.reload", context=self._page, wait="complete")

    def run(self, script: str, *given: Any) -> Any:
        body = f"JSON.stringify((function () {{ {script} }})(...{json.dumps(given)}) ?? null)"
        target = {"context": self._page}
        answer = self._ask("script.evaluate", expression=body, target=target, awaitPromise=False)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def _connect(self) -> AbstractContextManager[ClientConnection]:
        return connect(self.url, open_timeout=SECONDS, max_size=None, proxy=None)

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._count += 1
        self._connection.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=SECONDS))
            if answer.get("id") == self._count:
                assert answer["type"] == "success", answer
                return answer["result"]
