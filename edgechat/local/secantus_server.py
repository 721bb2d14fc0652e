"""SecantusDB with a password, as a process.

`python -m edgechat.local.secantus_server --port N --storage-path D --password-file F [--durable]`. Exit code 0 after
SIGTERM or SIGINT.

SecantusDB's own program can only add a user while it serves every client. Here the user is in the store before the port
opens.
"""

import argparse
import logging
import os
import signal
import threading
from pathlib import Path

USER = "edgechat"
# The minimum that drivers accept. Iterations protect only passwords that can be guessed, and cost each new connection
# time.
SCRAM_ITERATIONS = 4096
# In milliseconds. A statement that holds SecantusDB's lock waits for room in the cache of its storage engine, which old
# snapshots keep full, and these belong to statements that wait for the lock. Now it fails instead, and all go on.
MAX_WAIT_FOR_CACHE = 2000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m edgechat.local.secantus_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--storage-path", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--durable", action="store_true", help="each write is on the disk before its answer")
    options = parser.parse_args()
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())

    from secantus import SecantusDBServer
    from secantus.auth import derive_credentials

    os.environ["WIREDTIGER_CONFIG"] = f"cache_max_wait_ms={MAX_WAIT_FOR_CACHE}"
    server = SecantusDBServer(
        port=options.port,
        storage_path=options.storage_path,
        replica_set_name=None,  # a standalone server
        require_auth=True,
        enable_test_commands=False,
        cache_size="1G",
        sync_on_commit=options.durable,
    )
    password = options.password_file.read_text(encoding="utf-8").strip()
    record = {
        "_id": f"admin.{USER}",
        "user": USER,
        "db": "admin",
        "credentials": derive_credentials(password, username=USER, iterations=SCRAM_ITERATIONS).to_doc(),
        "roles": [{"role": "root", "db": "admin"}],
        "mechanisms": ["SCRAM-SHA-256"],
    }
    server.storage.add_user("admin", USER, record, replace=True)
    server.start()
    stop.wait()
    server.stop()


if __name__ == "__main__":
    main()
