"""The local model server; `python -m edgechat.local.model_server --help` lists its options.

Exit codes: 0 after SIGTERM or SIGINT or the parent's death, 1 when the address is not available, 2 for wrong arguments,
3 when the real model's wheels are not installed, 4 when the model's file cannot be loaded.
"""

# ruff: noqa: E402
import gevent.monkey

gevent.monkey.patch_all()

import argparse
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from edgechat.local.model_server.gemini_protocol import error_body
from edgechat.local.model_server.http import LISTEN_BACKLOG, make_server
from edgechat.local.model_server.scripted import ScriptedModel
from edgechat.local.model_server.service import Model, Service

EXIT_ADDRESS, EXIT_WHEELS, EXIT_FILE = 1, 3, 4
PARENT_POLL_SECONDS = 0.5


def main() -> int:
    parent = os.getppid()
    options = parse_arguments()
    try:
        listener = socket.create_server((options.host, options.port), backlog=LISTEN_BACKLOG)
    except OSError as fault:
        print(f"Cannot listen on {options.host}:{options.port}: {fault.strerror}.", file=sys.stderr)
        return EXIT_ADDRESS
    model: Model
    if options.scripted:
        model = ScriptedModel()
    else:
        from edgechat.local.model_server import language_model

        try:
            model = language_model.load(options.prompt_tokens, options.gguf, threads=options.threads)
        except language_model.WheelsMissing as missing:
            print(missing, file=sys.stderr)
            return EXIT_WHEELS
        except language_model.UnusableFile as unusable:
            print(unusable, file=sys.stderr)
            return EXIT_FILE
    service = Service(model, key=options.key_file.read_text(encoding="utf-8").strip() if options.key_file else None)
    serve(listener, service, options.ready_file, parent if options.die_with_parent else None)
    sys.stdout.flush()
    sys.stderr.flush()
    # Running calls are dropped. llama.cpp's threads may be in the middle of a prompt, and the process does not wait for
    # them.
    os._exit(0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m edgechat.local.model_server", description="The local model server."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--ready-file", type=Path, help="where the base URL is written once calls are answered")
    parser.add_argument(
        "--key-file", type=Path, help="holds the API key that calls must have; without it none is needed"
    )
    parser.add_argument("--scripted", action="store_true", help="echoes and scripted faults instead of the real model")
    parser.add_argument("--gguf", type=Path, help="the file of another model than the wheel's")
    parser.add_argument("--prompt-tokens", type=int, default=2048, help="the limit of what the real model reads")
    parser.add_argument("--threads", type=int, help="cores that the real model uses, instead of all (8 at most)")
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the process that started this one ends"
    )
    return parser.parse_args()


def serve(listener: socket.socket, service: Service, ready_file: Path | None, parent: int | None) -> None:
    """Serve until SIGTERM, SIGINT or, if `parent` is a process id, until that process is gone."""
    stopped = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, stopped.set)
    host, port = listener.getsockname()[:2]
    make_server(listener, service.handle, error_body).start()
    url = f"http://{host}:{port}"
    if ready_file is not None:
        write_atomically(ready_file, url)
    print(f"{service.model.card.name} serves on {url}", flush=True)
    # Poll the parent, because Linux's death signal comes when the *thread* that started this process ends.
    if parent is None:
        stopped.wait()
    while os.getppid() == parent and not stopped.wait(PARENT_POLL_SECONDS):
        pass


def write_atomically(path: Path, text: str) -> None:
    """Write the file so that a reader sees the whole text or no file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
