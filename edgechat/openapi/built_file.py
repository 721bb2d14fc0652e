"""The OpenAPI file as it is served: made by another process, before the server starts, and kept in memory.

`manage.py build_openapi` writes it into OPENAPI_FOLDER, under a name that depends on all that it is made of. So no
server serves the file of another version: one that finds no file of its own starts a process that makes it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import tempfile
import threading
from importlib import metadata
from pathlib import Path

import gevent.monkey
from django.conf import settings

from edgechat.http.precompressed import Precompressed

MEDIA_TYPE = "application/vnd.oai.openapi+json"
_SOURCES = ("edgechat", "accounts", "usage", "ai", "conversations")
_NOT_SOURCES = {"tests", "migrations", "static", "local"}
_LIBRARIES = ("Django", "djangorestframework", "drf-spectacular")
_reading = threading.Lock()


def openapi_file() -> Precompressed:
    """The file that belongs to this server's code. The first call reads it, or waits for the process that makes it."""
    with _reading:
        return _openapi_file()


@functools.cache
def _openapi_file() -> Precompressed:
    try:
        return Precompressed.read(built_path(settings.OPENAPI_FOLDER))
    except FileNotFoundError:
        with tempfile.TemporaryDirectory() as folder:
            _build_in_another_process(folder)
            return Precompressed.read(built_path(Path(folder)))


def built_path(folder: Path) -> Path:
    """The path of the file of this code and these settings in a folder."""
    return folder / f"openapi.{_fingerprint()}.json"


def _fingerprint() -> str:
    """The hash of what the file is made of: the source, the libraries, and the settings that reach it."""
    digest = hashlib.sha256(repr(settings.SPECTACULAR_SETTINGS).encode())
    for part in (platform.python_version(), *map(metadata.version, _LIBRARIES)):
        digest.update(part.encode())
    for app in _SOURCES:
        for source in sorted((settings.BASE_DIR / app).rglob("*.py")):
            if _NOT_SOURCES.isdisjoint(source.relative_to(settings.BASE_DIR).parts):
                digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _build_in_another_process(folder: str) -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "build_openapi", "--folder", folder]
    # gevent's versions would watch the process with their own signal handler, in gunicorn's master too.
    spawn, wait = (gevent.monkey.get_original("os", name) for name in ("posix_spawn", "waitpid"))
    process = spawn(sys.executable, [*command, "--verbosity", "0"], os.environ)
    _, status = wait(process, 0)
    if status != 0:
        raise RuntimeError(f"manage.py build_openapi failed with exit code {os.waitstatus_to_exitcode(status)}")
