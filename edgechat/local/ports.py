"""Free TCP ports on the loopback address, and who listens on them."""

import socket

import psutil

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody had a moment ago. Another process may take it first: whoever uses it must try again then."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_taken(port: int) -> bool:
    """True when a server could not listen on `port` now; connections lingering from a former server don't count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return True
        return False


def listens(pid: int, port: int) -> bool:
    """True when process `pid` itself listens on `port`: a stranger that was faster is not mistaken for it."""
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp4")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(item.status == psutil.CONN_LISTEN and item.laddr.port == port for item in connections if item.laddr)
