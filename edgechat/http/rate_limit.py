"""Request limits by client address: one for every path, and stricter ones that views name.

Redis keeps the windows, because the clocks of web machines may differ.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from edgechat.errors import RateLimited
from edgechat.http.client_address import limit_key
from edgechat.http.request_body import body_of
from edgechat.http.request_state import state_of
from edgechat.http.tally import Tally
from edgechat.metrics import catalog
from edgechat.stores.redis import RedisError, Script, redis_client

logger = structlog.get_logger(__name__)

# Only these exact paths: a path below them, like an unknown path, is counted.
METRICS_PATH = "/metrics"
_UNLIMITED = {
    *("/health", "/api/health", METRICS_PATH),
    *("/api/v1/health", "/api/v1/health/ready", "/api/v1/health/db", "/api/v1/health/mongo", "/api/v1/health/redis"),
}

_open_requests = Tally()

_RATE = re.compile(r"([1-9]\d*)/([1-9]\d*)?([smhd])", re.ASCII)  # 30/m, or 5/12h
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

# KEYS[1] a counter, ARGV[1] the window in ms. Returns the count and the ms left of the window. A window starts with its
# first counted request, and later requests do not move it. A counter that lost its expiry (in a loaded dump) gets a new
# one; otherwise its address would be blocked forever. A value that is no counter, or a counter of another window, is
# replaced.
_COUNT = """
    local count = redis.pcall('INCR', KEYS[1])
    if type(count) ~= 'number' or count < 1 then
        redis.call('SET', KEYS[1], 1)
        count = 1
    end
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 or left > tonumber(ARGV[1]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[1])
        left = tonumber(ARGV[1])
    end
    return {count, left}
"""


@functools.cache
def _count_script() -> Script:
    return redis_client().register_script(_COUNT)


def count_request(address: str) -> tuple[int, float]:
    """Count one request of an address: (requests in its window, seconds left of the window). Raises RedisError."""
    return _count(limit_key(address), seconds=settings.RATE_LIMIT_WINDOW_SECONDS)


def seconds_to_wait(group: str, key: str, *, rate: str) -> float | None:
    """Count one more use of a key in a group. Returns the seconds to wait if that exceeds the rate (30/m), else None.

    Also None while Redis is down. Redis never gets the key itself, which may be an e-mail address.
    """
    match = _RATE.fullmatch(rate)
    if match is None:
        raise ValueError(rate)
    digest = hashlib.sha256(key.encode()).hexdigest()
    try:
        count, left = _count(f"{group}:{digest}", seconds=int(match[2] or 1) * _SECONDS[match[3]])
    except RedisError as error:
        logger.warning("rate_limit_open", group=group, reason=type(error).__name__)
        catalog.rate_limit_open.inc()
        return None
    if count <= int(match[1]):
        return None
    catalog.rate_limited.labels("address_strict").inc()
    return left


def seconds_to_wait_for(request: HttpRequest, group: str) -> float | None:
    """The same for a request's address and AUTH_RATE_LIMIT."""
    return seconds_to_wait(group, limit_key(state_of(request).client_address), rate=settings.AUTH_RATE_LIMIT)


def _count(name: str, *, seconds: int) -> tuple[int, float]:
    count, left = _count_script()(keys=[f"edgechat:limit:{name}"], args=[seconds * 1000])
    return int(count), int(left) / 1000


def is_unlimited(path: str) -> bool:
    """Whether a path must always answer and is never counted: health and metrics."""
    return path in _UNLIMITED


def _open_request(request: HttpRequest) -> bool:
    """Count a request among the open requests of its address; False if it exceeds the limit.

    Behind a proxy a request stands for its client's connection, which the worker cannot see.
    """
    body, key = body_of(request), limit_key(state_of(request).client_address)
    if _open_requests.of(key) >= settings.MAX_CONNECTIONS_PER_ADDRESS:
        return False
    if body is not None:
        _open_requests.add(key, 1)
        body.when_done(lambda: _open_requests.add(key, -1))
    return True


def limit_request(request: HttpRequest) -> RateLimited | None:
    """Count a request, and return the error if it exceeds a limit. Passes every request while Redis is down.

    The limits of an address are RATE_LIMIT_REQUESTS per window and, behind a proxy, MAX_CONNECTIONS_PER_ADDRESS open
    requests.
    """
    if settings.TRUSTED_PROXY_COUNT and not _open_request(request):
        catalog.rate_limited.labels("simultaneous_requests").inc()
        return RateLimited("Too many simultaneous requests", retry_after=1, limit="simultaneous_requests")
    try:
        count, left = count_request(state_of(request).client_address)
    except RedisError as error:
        logger.warning("rate_limit_open", reason=type(error).__name__)
        catalog.rate_limit_open.inc()
        return None
    if count <= settings.RATE_LIMIT_REQUESTS:
        return None
    catalog.rate_limited.labels("address").inc()
    return RateLimited(retry_after=left, limit="address")


class AuthRateThrottle(BaseThrottle):
    """AUTH_RATE_LIMIT per address, counted separately for each view."""

    _wait: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        self._wait = seconds_to_wait_for(request._request, f"{type(view).__module__}.{type(view).__qualname__}")
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait
