"""A server that keeps what is posted to it: a collector of spans, and Sentry."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.server_bind()
        self.posted: list[tuple[str, bytes]] = []
        self.answers = threading.Event()
        self.answers.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def start(self) -> None:
        self.server_activate()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def spans(self) -> list[Span]:
        found = []
        for path, body in list(self.posted):
            if path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        found += scope.spans
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.answers.is_set():  # as a collector that hangs, and is killed
            self.server.answers.wait()
            self.close_connection = True
            return
        unpack = {"gzip": gzip.decompress, "br": brotli.decompress}.get(self.headers["Content-Encoding"] or "", bytes)
        self.server.posted.append((self.path, unpack(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def collector(*, dead: bool = False) -> Iterator[Collector]:
    """A dead one refuses connections until its `start` is called, which has to be."""
    with Collector() as server:
        if not dead:
            server.start()
        yield server
        server.answers.set()
        server.shutdown()
