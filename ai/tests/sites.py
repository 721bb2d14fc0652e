"""Servers on this machine for tests of the fetcher: real sockets, with every byte under the test's control."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[["Visit"], None]


class Visit:
    """One request: its target and headers, and the connection for the response."""

    def __init__(self, sock: socket.socket, head: bytes, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing
        self.target = head.split(b" ")[1].decode() if b" " in head else ""
        lines = head.decode("latin-1").split("\r\n")[1:]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send one byte at a time, until the client disconnects."""
        for byte in data:
            self.send(bytes([byte]))
            if self.closing.wait(0.02):
                return

    def hang(self) -> None:
        """Send nothing until the client disconnects."""
        while self.sock.recv(1024):
            pass


class Site:
    """A server on loopback that passes the request of each connection to `answer`, in a separate thread."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None, greets: bool = False) -> None:
        self.visits: list[Visit] = []
        self._answer, self._tls, self._greets = answer, tls, greets
        self.closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def close(self) -> None:
        """Raises AssertionError if a client has left a connection open that an answer waits for."""
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _start(self, function: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                head = b""
                while not self._greets and b"\r\n\r\n" not in head:
                    data = sock.recv(65536)
                    if not data:
                        return
                    head += data
                visit = Visit(sock, head, self.closing)
                self.visits.append(visit)
                self._answer(visit)


@contextmanager
def listener(address: str) -> Iterator[socket.socket]:
    """A listening socket on this loopback address that never accepts a connection."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as sock:
        sock.setblocking(False)
        yield sock


def was_connected_to(sock: socket.socket) -> bool:
    """Whether a client has connected; the system queues the connection before the client's `connect` returns."""
    try:
        sock.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def http(body: bytes, content_type: str = "text/plain", *, status: str = "200 OK", **headers: str) -> bytes:
    """A complete HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {content_type}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def certified(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server with this name or address, and for clients that trust only its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "EdgeChat test")])
    now = datetime.datetime.now(datetime.UTC)
    try:
        general: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        general = x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([general]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "chain.pem"
        chain.write_bytes(private + pem)
        server.load_cert_chain(chain)
    return server, ssl.create_default_context(cadata=pem.decode())
