"""How gunicorn serves EdgeChat: gevent workers, patched before anything else is imported."""

# This must be the first statement, before gunicorn or the application imports anything that keeps an unpatched lock or
# socket: a worker that is patched later shares thread-locals, including database connections, between its requests.
import gevent.events
import gevent.monkey

# gevent would look for plugins of its own in all installed packages, 25 times.
gevent.events.notify_and_call_entry_points = gevent.events.notify
gevent.monkey.patch_all()

import ctypes  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from contextlib import suppress  # noqa: E402
from typing import Any  # noqa: E402

from edgechat.metrics import files as metric_files  # noqa: E402

# Before the application is imported, which declares the metrics.
metric_files.create_folder()

# What is imported is no garbage: looking for some would take a tenth of the start.
gc.disable()

# Argon2 needs 19 MiB for each password. By default glibc starts to keep such blocks after the first one; with a fixed
# threshold (M_MMAP_THRESHOLD, bytes) they return to the system. Other C libraries have no mallopt, or do not need it.
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
if _mallopt is not None:
    _mallopt(-3, 1024 * 1024)

_HOST = "0.0.0.0"  # noqa: S104  # nosec B104 # a container's port
bind = f"{os.environ.get('HOST', _HOST)}:{os.environ.get('PORT') or '8000'}"
workers = max(1, int(os.environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1))
worker_class = "edgechat.processes.gunicorn_worker.Worker"
worker_connections = 4000  # open streams, each a greenlet
backlog = 4096
# Imported once, before the fork, so the workers share its memory; the import opens no client and no pool. With --reload
# each worker imports the application itself.
preload_app = "--reload" not in sys.argv
# Running replies get GRACEFUL_TIMEOUT. The extra seconds are for handing over the rest before the master kills the
# worker.
graceful_timeout = int(os.environ.get("GRACEFUL_TIMEOUT") or 30) + 5
timeout = 120
keepalive = 30
# Only TRUSTED_PROXY_COUNT decides about X-Forwarded-*: gunicorn must not trust any of these headers.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
control_socket_disable = True  # its file in the home folder would be the same for all runs of a user
# sendfile would bypass the limits of edgechat.http.client_socket.
sendfile = False
accesslog = None  # edgechat.http.middleware logs each request, with its id
errorlog = "-"
logger_class = "edgechat.processes.gunicorn_log.Logger"
loglevel = (os.environ.get("LOG_LEVEL") or "info").lower()
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  # nosec B108 # a heartbeat file without disk waits


def on_starting(server: Any) -> None:
    if server.cfg.reload:
        return  # each worker reads the settings itself; it would inherit settings that are imported here
    from edgechat.openapi.built_file import openapi_file

    openapi_file()  # now, so that no request waits for it, and the workers share its memory


def when_ready(server: Any) -> None:
    """Keep imported objects out of garbage collection, which would copy the pages that the workers share.

    Nothing is collected first: the little garbage of the imports is not worth a tenth of the start's CPU.

    Reference counts free nearly all objects of a request. Collecting the rest as often as Python does by default took 8
    percent of the CPU with 500 open streams.
    """
    from ai import gemini
    from edgechat.sandbox.jobs import start_fork_server

    if preload_app:
        # One fork server for all workers. With --reload each worker imports its own version of the modules.
        start_fork_server()
        gemini.load_sdk()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def post_worker_init(worker: Any) -> None:
    """The application is loaded: refuse to run half-patched, then start the process's periodic tasks."""
    from django.db import OperationalError

    from ai import gemini
    from ai.fetch_url import fetcher
    from edgechat.processes import periodic
    from edgechat.processes.gevent_check import require_patched_process
    from edgechat.telemetry import exceptions, exporter
    from usage import processes

    require_patched_process()
    exporter.start()
    exceptions.start()
    # Each loads the system's certificates, during which the process answers no other request.
    gemini.prepare()
    fetcher.prepare()
    with suppress(OperationalError):
        processes.keep_alive()  # before the first request, which needs the time from PostgreSQL
    periodic.start()
    gc.enable()  # a configuration that was read again on SIGHUP has disabled it


def child_exit(server: Any, worker: Any) -> None:
    metric_files.forget_process(worker.pid)


def on_exit(server: Any) -> None:
    metric_files.delete_folder()


def worker_exit(server: Any, worker: Any) -> None:
    from edgechat.processes import periodic
    from edgechat.telemetry import exceptions, exporter
    from usage.requests.refusals import flush_refusals
    from usage.requests.services import flush_requests

    periodic.stop()
    flush_requests()
    flush_refusals()
    exporter.stop()
    exceptions.stop()
