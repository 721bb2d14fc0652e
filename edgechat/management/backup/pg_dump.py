"""Copies rows by pg_dump, where there is one: those of a transaction's snapshot, in the format of `COPY`.

Only the rows are taken from what it writes, so an archive can be restored without it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

_CHILD_PROGRAM = Path(__file__).parents[2] / "processes" / "child.py"
_VERSION = re.compile(r"pg_dump \(PostgreSQL\) (\d+)(\.\d+)?")
_HEADER = re.compile(r'COPY "[^"]+"\."([^"]+)" \((.*)\) FROM stdin;\n')
_WORDS = 2000


class DumpFailed(Exception):
    """pg_dump ended with an error, or without some of the rows. The text has its words."""


def find_pg_dump(server_version: int) -> tuple[str | None, str]:
    """(path of a pg_dump that can copy this server, its version); without one, (None, the reason).

    `server_version` is the major version, such as 16: an older pg_dump refuses it.
    """
    if settings.DATABASE_POOLER:
        return None, "pg_dump changes settings of its connection, which a pooler gives to others"
    if "sslpassword" in connection.settings_dict["OPTIONS"]:
        return None, "pg_dump takes the sslpassword of DATABASE_URL only where every user of the machine sees it"
    path = shutil.which("pg_dump")
    if path is None:
        return None, "there is no pg_dump"
    try:
        done = subprocess.run(  # noqa: S603  (found on PATH, like every program)
            [path, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{path} does not run: {error}"
    version = _VERSION.match(done.stdout)
    if version is None:
        return None, f"{path} does not say its version"
    if int(version[1]) < server_version:
        return None, f"pg_dump {version[1]} is older than the server, {server_version}"
    return path, "".join(part or "" for part in version.groups())


def dump_rows(path: str, snapshot: str, tables: Mapping[str, list[str]]) -> Iterator[tuple[str, bytes]]:
    """(table, row) for each row of these tables, with these columns in this order. Raises DumpFailed and OSError.

    The transaction that exported the snapshot has to be open until the first row.
    """
    info = connection.connection.info
    # What a command line says is seen by every user of the machine.
    parameters = {name: value for name, value in info.get_parameters().items() if "password" not in name}
    environment = {**os.environ, "PGPASSWORD": info.password} if info.password else None
    command = [
        path,
        f"--dbname={make_conninfo('', **parameters)}",
        f"--snapshot={snapshot}",
        "--data-only",
        "--encoding=UTF8",
        "--no-password",
        "--quote-all-identifiers",
        "--lock-wait-timeout=60s",
        "--strict-names",
        *(f'--table="{table}"' for table in tables),
    ]
    # It ends with this process, also when it waits for the server.
    tied = [sys.executable, "-I", "-S", str(_CHILD_PROGRAM), str(int(signal.SIGKILL)), str(os.getpid()), "-", "-"]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603  (the same)
            [*tied, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment
        ) as process,
    ):
        try:
            done: set[str] = set()
            yield from _rows(process.stdout, tables, done)  # type: ignore[arg-type]
            if process.wait() != 0:
                raise DumpFailed(f"pg_dump ended with code {process.returncode}: {_last_words(errors)}")
            if missing := sorted(tables.keys() - done):
                raise DumpFailed(f"pg_dump left out {missing[0]}")
        finally:
            process.kill()


def _rows(output: IO[bytes], tables: Mapping[str, list[str]], done: set[str]) -> Iterator[tuple[str, bytes]]:
    """The rows of each table, whose name is added to `done` after its last row."""
    for line in output:
        header = _HEADER.fullmatch(line.decode()) if line.startswith(b"COPY ") else None
        if header is None:
            continue
        table = header[1]
        if header[2] != ", ".join(f'"{column}"' for column in tables.get(table, [])):
            raise DumpFailed(f"{table} was changed during the backup")
        for row in output:
            if row == b"\\.\n":  # no row is like this: a backslash within a row is doubled
                done.add(table)
                break
            yield table, row


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _WORDS))
    return errors.read().decode(errors="replace").strip()
