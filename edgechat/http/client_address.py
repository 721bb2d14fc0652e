"""Whose request it is, as far as the network tells."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from edgechat.http.request_state import state_of


def client_address(request: HttpRequest) -> str:
    """The client's IP address in canonical form; "" where there is none (a unix socket without proxies).

    Each trusted proxy appends the address that it saw to `X-Forwarded-For`, so the client's is the entry that many
    places from the right. What stands further left was sent by the client itself and is never believed. A chain that
    is too short, or an entry that is no address, means that the request did not come through the proxies: then the
    socket's address counts. Some proxies write the client's port behind its address, and an IPv6 address in brackets.
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

    It is counted like the address. Most proxies replace the header though, or hand on one that is there, so a list that
    is too short counts where all its entries say the same: which of them a client wrote is not known.
    """
    given = request.META.get("HTTP_X_FORWARDED_PROTO")
    if given is not None:
        chain = [entry.strip(_AROUND).lower() for entry in given.split(",")]
        count: int = settings.TRUSTED_PROXY_COUNT
        if len(chain) < count and len(set(chain)) == 1:
            count = 1
        request.META["HTTP_X_FORWARDED_PROTO"] = chain[-count] if 0 < count <= len(chain) else ""


def limit_key(address: str) -> str:
    """What an address is counted under: itself, or the /64 of an IPv6 address, which one customer holds whole."""
    parsed = ipaddress.ip_address(address) if address else None
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return address


def connection_key(peer: Any) -> str:
    """What a connection is counted under, from what the socket tells of its other end; "" for a unix socket."""
    return limit_key(_canonical(peer[0])) if isinstance(peer, tuple) else ""


_AROUND = ' \t"'
# [address], [address]:port, or an address that ends as IPv4 ones do and a port.
_ENTRY = re.compile(r"\[([^\[\]]+)\](?::[0-9]{1,5})?|([^\[\]]*\.[0-9]+):[0-9]{1,5}")


def _without_port(entry: str) -> str:
    entry = entry.strip(_AROUND)
    match = _ENTRY.fullmatch(entry)
    return match[1] or match[2] if match else entry


def _canonical(text: str) -> str:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed)))
    return str(parsed)


@dataclass(frozen=True)
class Caller:
    """Where a request came from, for sessions and the audit log."""

    address: str
    user_agent: str
    request_id: str


def caller_of(request: HttpRequest) -> Caller:
    # A header may hold any bytes; PostgreSQL takes no NUL, and Latin-1 never has surrogates.
    user_agent = request.headers.get("User-Agent", "").replace("\x00", "")
    state = state_of(request)
    return Caller(state.client_address, user_agent[:300], state.request_id)
