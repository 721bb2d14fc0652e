"""A proxy that makes a store slow, silent or unreachable."""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from contextlib import suppress


class StoreProxy:
    """Forwards connections to the server that a URL names; `url` names the proxy instead, which listens at `host`.

    `delay` is how long the server's answers are delayed, in seconds. `bytes_per_second` slows what clients send, as a
    server does that takes long for each document. With `silent` nothing passes, and connections stay
    open. `swallow()` makes the currently open connections silent permanently; `cut()` ends them. `close()` ends them
    too, and refuses new ones. `sent` is what clients have sent, in the pieces in which it arrived: a driver sends a
    command, or a pipeline of commands, in one piece, and waits for the answer before the next one.
    """

    def __init__(self, url: str, *, host: str = "127.0.0.1") -> None:
        found = re.search(r"(//(?:[^@/]*@)?)(?:127\.0\.0\.1|localhost):(\d+)", url)
        assert found is not None, url
        self._target = int(found[2])
        self._listener = socket.create_server((host, 0), backlog=256)
        port = self._listener.getsockname()[1]
        self.url = url.replace(found[0], f"{found[1]}{host}:{port}")
        self.delay = 0.0
        self.bytes_per_second = math.inf
        self.silent = False
        self.sent: list[bytes] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._swallowed: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        self._swallowed.update(self._sockets)

    def cut(self) -> None:
        for each in self._sockets[1:]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not answers:
                    self.sent.append(data)
                    time.sleep(len(data) / self.bytes_per_second)
                if answers and self.delay:
                    time.sleep(self.delay)
                while self.silent:
                    time.sleep(0.05)
                if source not in self._swallowed:
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
