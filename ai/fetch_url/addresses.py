"""Where a host name leads, and whether that is the public internet."""

from __future__ import annotations

import ipaddress
import socket

_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")

# Inside what `ipaddress` calls global.
_REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata and health service, which every machine there reaches
        "192.0.0.0/24",  # protocol assignments, of which Pythons know different parts
        "192.88.99.0/24",  # relays of 6to4
        "2001::/32",  # Teredo and 6to4 lead to IPv4 addresses that they hold
        "2002::/16",
        "3fff::/20",  # for documentation, which Python 3.11 does not know
    )
]


def look_up(host: str, port: int) -> list[str]:
    """All addresses of a host, in the system's order. Raises OSError, and UnicodeError for what is no name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Whether an address is one host's on the public internet, and is what it seems.

    IPv6 addresses that stand for an IPv4 address (mapped, NAT64, 6to4, Teredo) are not, whichever they stand for.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _REFUSED):
        return False
    # Everything else is reserved, local or a translation, and a zone names an interface of this machine.
    return ip.version == 4 or (ip in _PUBLIC_IPV6 and ip.scope_id is None)
