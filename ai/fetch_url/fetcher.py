"""The one way to fetch a page: every address is checked before the connection, and every resource is bounded."""

from __future__ import annotations

import functools
import re
import ssl
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import httpcore2
import httpx2
import structlog

from ai.fetch_url.addresses import is_public, look_up
from ai.fetch_url.limits import CANNOT_OPEN, CANNOT_READ, WRONG_ADDRESS, Deadline, PageRefused
from ai.fetch_url.text import Redirect, read_text
from ai.fetch_url.transport import bounded, open_pinned, too_large
from ai.fetch_url.unpacking import find_packing, unpack
from edgechat.processes.threads import waiting
from edgechat.sandbox.job_limit import JobLimit, NotStarted

logger = structlog.get_logger(__name__)

MAX_URL_LENGTH = 2048
MAX_ADDRESSES = 4
HEADERS = {
    "User-Agent": "EdgeChat/1 (+summaries)",
    "Accept": "text/html, application/xhtml+xml, application/pdf, text/plain;q=0.9, image/*;q=0.8",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "close",
}

_REDIRECTS = (301, 302, 303, 307, 308)
_HTTP_ERRORS = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)

# URL parsers disagree about these characters, for example where a host name ends. A URL from a browser has none.
_AMBIGUOUS = re.compile(r"[\s\\\x00-\x20\x7f-\x9f]")

# getaddrinfo has no timeout, so it runs in a thread that can be abandoned. There are few, because under gevent each
# holds one of the native threads that also hash passwords.
_lookups = ThreadPoolExecutor(max_workers=4, thread_name_prefix="look-up")

# Each may hold a body of `max_bytes` until the body is parsed.
_fetch_limit = JobLimit(32, per_user=8)


@dataclass(frozen=True)
class Page:
    """`url` is the final URL after redirects. `title` is None if the page has none."""

    url: str
    title: str | None
    text: str


T = TypeVar("T")
# What becomes of a document; a redirect is followed.
_Reader = Callable[[httpx2.URL, "_Document", Deadline], T | Redirect]


@dataclass(frozen=True)
class Fetcher:
    """`resolve(host, port)` returns the addresses of a host or raises OSError; all of them must be allowed.

    `max_bytes` limits the body both packed and unpacked. `max_seconds` limits the time from the first look-up to the
    extracted text.
    """

    resolve: Callable[[str, int], list[str]] = look_up
    is_allowed: Callable[[str], bool] = is_public
    ports: frozenset[int] = frozenset({80, 443})
    ssl_context: ssl.SSLContext | None = None
    max_bytes: int = 5 * 1024 * 1024
    max_seconds: float = 10.0
    max_redirects: int = 5

    def fetch(self, url: str) -> Page:
        """The page at a URL. Raises PageRefused."""
        return self._visit(url, _read_page)

    def download(self, url: str) -> bytes:
        """The file at a URL, of any type. Raises PageRefused."""
        return self._visit(url, _read_file)

    def _visit(self, url: str, read: _Reader[T]) -> T:
        deadline = Deadline(self.max_seconds)
        target = self._checked(url)
        try:
            with waiting(), _fetch_limit.permit(deadline.left()):
                return self._fetch(target, deadline, read)
        except NotStarted:
            raise deadline.refusal() from None

    def _fetch(self, target: httpx2.URL, deadline: Deadline, read: _Reader[T]) -> T:
        for _ in range(1 + self.max_redirects):
            answer = self._get(target, deadline)
            if isinstance(answer, _Document):
                found = read(target, answer, deadline)
                if not isinstance(found, Redirect):
                    return found
                answer = self._redirected(target, found.location)
            target = answer
        raise PageRefused(f"More than {self.max_redirects} redirects")

    def _checked(self, url: httpx2.URL | str) -> httpx2.URL:
        """The parsed URL. Raises PageRefused if it may not be requested."""
        if len(str(url)) > MAX_URL_LENGTH or _AMBIGUOUS.search(str(url)):
            raise PageRefused(CANNOT_OPEN)
        try:
            target = httpx2.URL(url)
            has_host = bool(target.host and target.raw_host)
        except (httpx2.InvalidURL, ValueError) as error:  # ValueError: an invalid international name
            raise PageRefused(CANNOT_OPEN) from error
        if target.scheme not in ("http", "https") or _port(target) not in self.ports:
            raise PageRefused(WRONG_ADDRESS)
        if target.userinfo or not has_host:
            raise PageRefused(CANNOT_OPEN)
        return target

    def _redirected(self, url: httpx2.URL, location: str) -> httpx2.URL:
        if len(location) > MAX_URL_LENGTH:
            raise PageRefused(CANNOT_OPEN)
        try:
            return self._checked(url.join(location))
        except (httpx2.InvalidURL, ValueError) as error:
            raise PageRefused(CANNOT_OPEN) from error

    def _get(self, url: httpx2.URL, deadline: Deadline) -> _Document | httpx2.URL:
        """The document at a URL, or the URL of its redirect."""
        addresses = self._addresses(url, deadline)
        ssl_context = self.ssl_context or _ssl_context()
        refusal = CANNOT_OPEN
        try:
            with open_pinned(url, addresses, headers=HEADERS, deadline=deadline, ssl_context=ssl_context) as response:
                headers = httpx2.Headers(response.headers)
                if response.status in _REDIRECTS and "Location" in headers:
                    # Browsers follow no redirect with several locations; equal ones count as one.
                    locations = set(headers.get_list("Location"))
                    if len(locations) > 1:
                        raise PageRefused(CANNOT_OPEN)
                    return self._redirected(url, locations.pop())
                if response.status != 200:
                    raise PageRefused(CANNOT_OPEN)
                refusal = CANNOT_READ
                return _Document(self._body(response, headers, deadline), headers.get("Content-Type", ""))
        # ValueError: a name that TLS or the check of the certificate rejects.
        except (*_HTTP_ERRORS, ValueError, OSError) as error:
            deadline.left()
            logger.info("page_not_opened", host=url.host, reason=repr(error)[:200])
            raise PageRefused(refusal) from error

    def _addresses(self, url: httpx2.URL, deadline: Deadline) -> list[str]:
        """The checked addresses of a URL's host, from a single look-up."""
        lookup = _lookups.submit(self.resolve, url.raw_host.decode("ascii"), _port(url))
        try:
            addresses = lookup.result(deadline.left())
        except (OSError, ValueError) as error:  # TimeoutError of the wait is an OSError
            lookup.cancel()
            deadline.left()
            raise PageRefused(CANNOT_OPEN) from error
        if not addresses or not all(self.is_allowed(address) for address in addresses):
            logger.warning("page_address_refused", host=url.host, addresses=addresses)
            raise PageRefused(CANNOT_OPEN)
        return addresses[:MAX_ADDRESSES]

    def _body(self, response: httpcore2.Response, headers: httpx2.Headers, deadline: Deadline) -> bytes:
        """The unpacked body."""
        packing = find_packing(headers.get_list("Content-Encoding"))
        if packing is None:
            raise PageRefused(CANNOT_READ)
        body = bytearray()
        try:
            for piece in unpack(bounded(response.iter_stream(), max_bytes=self.max_bytes), packing):
                deadline.left()
                body += piece
                if len(body) > self.max_bytes:
                    raise too_large(self.max_bytes)
        except zlib.error as error:
            raise PageRefused(CANNOT_READ) from error
        return bytes(body)


@dataclass(frozen=True)
class _Document:
    body: bytes
    content_type: str


def _read_file(url: httpx2.URL, document: _Document, deadline: Deadline) -> bytes:
    return document.body


def _read_page(url: httpx2.URL, document: _Document, deadline: Deadline) -> Page | Redirect:
    found = read_text(document.body, document.content_type, deadline=deadline)
    if isinstance(found, Redirect):
        return found
    title, text = found
    return Page(url=str(url), title=title, text=text)


def _port(url: httpx2.URL) -> int:
    return {"http": 80, "https": 443}.get(url.scheme, 0) if url.port is None else url.port


def prepare() -> None:
    """Load the CA certificates, which takes a tenth of a second."""
    _ssl_context()


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Created once, because it reads all CA certificates of the system."""
    return httpx2.create_ssl_context(trust_env=False)


def fetch_file(url: str, *, max_bytes: int) -> bytes:
    """The file at a URL of the public internet. Raises PageRefused."""
    return Fetcher(max_bytes=max_bytes).download(url)


def fetch_page(url: str) -> Page:
    """The page at a URL of the public internet: final URL, title and main text. Raises PageRefused."""
    return Fetcher().fetch(url)
