"""A stand-in for an object store."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


class ObjectStore:
    """A server for the necessary part of S3's protocol, for one bucket at a time. Calls with the `held` method wait."""

    def __init__(self) -> None:
        self.held: str | None = None
        self.waiting = 0
        self.files: dict[str, bytes] = {}
        # Of each upload that has begun: its parts by their numbers.
        self.uploads: dict[str, dict[int, bytes]] = {}
        # Of each upload: the name that it will have, and when it began.
        self.begun: dict[str, tuple[str, datetime]] = {}
        self._go_on = threading.Condition()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                if "chunked" in self.headers.get("Content-Encoding", ""):
                    data = b"".join(_signed_chunks(data))
                store.wait_while_held(self.command)
                name, _, query = self.path.partition("?")
                status, body = store.answer(self.command, name, dict(parse_qsl(query, keep_blank_values=True)), data)
                self.send_response(status)
                self.send_header("ETag", '"x"')
                self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str, name: str, query: dict[str, str], data: bytes) -> tuple[int, bytes]:
        if "uploads" in query or "uploadId" in query:
            return self._answer_upload(method, name, query, data)
        if method == "PUT":
            self.files[name] = data
        elif method == "DELETE":
            self.files.pop(name, None)
            return 204, b""
        elif name not in self.files:
            return 404, b""
        return 200, b"" if method == "PUT" else self.files[name]

    def _answer_upload(self, method: str, name: str, query: dict[str, str], data: bytes) -> tuple[int, bytes]:
        """An upload in parts: it begins with `uploads`, and its name exists once it is completed."""
        key = query.get("uploadId", "")
        if method == "PUT":
            self.uploads[key][int(query["partNumber"])] = data
        elif method == "DELETE":
            del self.uploads[key]
            return 204, b""
        elif method == "GET":
            return 200, self._list_uploads().encode()
        elif key:
            parts = self.uploads.pop(key)
            self.files[name] = b"".join(parts[number] for number in sorted(parts))
            return 200, b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        else:
            key = uuid.uuid4().hex
            self.uploads[key] = {}
            self.begun[key] = (name, datetime.now(UTC))
            result = f"<InitiateMultipartUploadResult><UploadId>{key}</UploadId></InitiateMultipartUploadResult>"
            return 200, result.encode()
        return 200, b""

    def _list_uploads(self) -> str:
        uploads = "".join(
            f"<Upload><Key>{self.begun[key][0].split('/', 2)[2]}</Key><UploadId>{key}</UploadId>"
            f"<Initiated>{self.begun[key][1]:%Y-%m-%dT%H:%M:%SZ}</Initiated></Upload>"
            for key in self.uploads
        )
        return f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"

    def wait_while_held(self, method: str) -> None:
        with self._go_on:
            self.waiting += 1
            while self.held == method:
                self._go_on.wait(1)
            self.waiting -= 1

    def hold(self, method: str | None) -> None:
        with self._go_on:
            self.held = method
            self._go_on.notify_all()

    def close(self) -> None:
        self.hold(None)
        self._server.shutdown()
        self._server.server_close()


def _signed_chunks(data: bytes) -> Iterator[bytes]:
    """The body of an `aws-chunked` upload, which is signed or followed by a checksum."""
    while data:
        head, _, data = data.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if not size:
            return
        yield data[:size]
        data = data[size + 2 :]
