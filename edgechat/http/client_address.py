"""The address of a request's client, as far as the network reports it."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from edgechat.http.request_state import state_of


def client_address(request: HttpRequest) -> str:
    """The client's IP address in canonical form; "" where there is none (a unix socket without proxies).

    Each trusted proxy appends the address that it saw to `X-Forwarded-For`, so the client's address is the
    TRUSTED_PROXY_COUNT-th entry from the right. Entries further left come from the client and are never trusted. If the
    list is too short, or the entry is no address, the request did not come through the proxies: then the socket's
    address counts. Some proxies append the client's port to its address, and put an IPv6 address in brackets.
    """
    peer: str = request.META.get("REMOTE_ADDR", "")
    count: int = settings.TRUSTED_PROXY_COUNT
    if count:
        chain = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(chain) >= count:
            return _canonical(_without_port(chain[-count])) or _canonical(peer)
    return _canonical(peer)


def believe_scheme(request: HttpRequest) -> None:
    """Leave of `X-Forwarded-Proto` only the entry that counts, because Django reads the first one.

    The entry is counted like the address. Most proxies replace the header or pass on an existing one. A list that is
    too short therefore counts only where all its entries are equal: which of them the client wrote is unknown.
    """
    given = request.META.get("HTTP_X_FORWARDED_PROTO")
    if given is not None:
        chain = [entry.strip(_AROUND).lower() for entry in given.split(",")]
        count: int = settings.TRUSTED_PROXY_COUNT
        if len(chain) < count and len(set(chain)) == 1:
            count = 1
        request.META["HTTP_X_FORWARDED_PROTO"] = chain[-count] if 0 < count <= len(chain) else ""


@functools.lru_cache(maxsize=1024)
def limit_key(address: str) -> str:
    """The key that an address is counted under: itself, or an IPv6 address's /64, which one customer holds whole."""
    parsed = ipaddress.ip_address(address) if address else None
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return address


def connection_key(peer: Any) -> str:
    """The key that a connection is counted under, from the socket's peer address; "" for a unix socket."""
    return limit_key(_canonical(peer[0])) if isinstance(peer, tuple) else ""


_AROUND = ' \t"'
# An IPv6 address has 45 characters at most, and may name a network interface.
_MAX_ADDRESS = 64
# [address], [address]:port, or IPv4-like address:port.
_ENTRY = re.compile(r"\[([^\[\]]+)\](?::[0-9]{1,5})?|([^\[\]]*\.[0-9]+):[0-9]{1,5}")


def _without_port(entry: str) -> str:
    entry = entry.strip(_AROUND)
    match = _ENTRY.fullmatch(entry)
    return match[1] or match[2] if match else entry


@functools.lru_cache(maxsize=1024)
def _canonical(text: str) -> str:
    if len(text) > _MAX_ADDRESS:
        return ""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed)))
    return str(parsed)


@dataclass(frozen=True)
class Caller:
    """The origin of a request, for sessions and the audit log."""

    address: str
    user_agent: str
    request_id: str


def caller_of(request: HttpRequest) -> Caller:
    # A header may hold any bytes. PostgreSQL accepts no NUL; Latin-1 has no surrogates.
    user_agent = request.headers.get("User-Agent", "").replace("\x00", "")
    state = state_of(request)
    return Caller(state.client_address, user_agent[:300], state.request_id)
