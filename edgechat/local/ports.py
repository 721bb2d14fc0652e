"""Free TCP ports on the loopback address, and the processes that listen on them."""

import random
import socket

import psutil

from edgechat.local.process import LocalError

HOST = "127.0.0.1"


# Below the ports that systems assign to outgoing connections (Linux from 32768, others from 49152): otherwise a server
# that restarts on its port may find another program's connection there.
_PORTS = range(10_240, 32_768)
_ATTEMPTS = 100


def free_port() -> int:
    """A port that was free a moment ago. Another process may take it first; the caller must then try again."""
    for port in random.SystemRandom().sample(_PORTS, _ATTEMPTS):
        if not port_is_taken(port):
            return port
    raise LocalError(f"No port from {_PORTS.start} to {_PORTS.stop - 1} is free.")


def port_is_taken(port: int) -> bool:
    """True when a server cannot listen on `port` now. Lingering connections of a former server do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return True
        return False


def listens(pid: int, port: int) -> bool:
    """True when process `pid` itself listens on `port`, and not another process that was faster."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp4")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(item.status == psutil.CONN_LISTEN and item.laddr.port == port for item in connections if item.laddr)
