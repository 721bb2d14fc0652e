"""Resolves host names and decides whether an address belongs to the public internet."""

from __future__ import annotations

import ipaddress
import socket

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")

# Networks that `ipaddress` counts as global.
_REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata and health service, reachable from every Azure machine
        "192.0.0.0/24",  # protocol assignments; Python versions know different parts of it
        "192.88.99.0/24",  # relays of 6to4
        "2001::/32",  # Teredo; like 6to4 below, it embeds an IPv4 address
        "2002::/16",
        "3fff::/20",  # documentation; unknown to Python 3.11
    )
]


def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host, in the system's order. Raises OSError, and UnicodeError for an invalid name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address belongs to one host on the public internet and stands for no other address.

    IPv6 addresses that embed an IPv4 address (mapped, NAT64, 6to4, Teredo) are never public.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _REFUSED):
        return False
    # Other IPv6 addresses are reserved, local or translations. A zone names an interface of this machine.
    return ip.version == 4 or (ip in _PUBLIC_IPV6 and ip.scope_id is None)
