"""The web server that tests and the benchmark start, with an application of a few lines."""

import http.client
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.local.ports import port_is_taken
from edgechat.local.process import LocalError, wait_until
from edgechat.local.web import WebServer

_WSGI = """
import os, sys, time

def application(environ, start):
    if environ["PATH_INFO"] == "/slow":
        print("slow began", file=sys.stderr, flush=True)
        time.sleep(1)
    status = os.environ.get("STATUS", "200 OK") if environ["PATH_INFO"].startswith("/api/") else "200 OK"
    start(status, [("Content-Type", "text/plain")])
    return [os.environ.get("WORD", "none").encode()]
"""
_GUNICORN = """
import gevent.monkey
gevent.monkey.patch_all()
import os
worker_class = "gevent"
workers = int(os.environ["WEB_CONCURRENCY"])
"""


@pytest.fixture
def project(data_dir: Path) -> Path:
    package = data_dir / "project" / "edgechat"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "wsgi.py").write_text(_WSGI)
    (package.parent / "gunicorn.conf.py").write_text(_GUNICORN)
    return package.parent


@pytest.fixture
def web(data_dir: Path, project: Path) -> Iterator[WebServer]:
    server = WebServer({"WORD": "hello"}, data_dir=data_dir, project=project, workers=2)
    yield server
    server.kill()


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_it_serves_with_the_given_environment_on_a_free_port(web: WebServer) -> None:
    web.start()
    assert _get(web.url + "/") == "hello"
    assert web.wait_for_workers()
    assert len(web.pids) == 2
    assert "Listening at" in web.log_text()


def test_a_killed_worker_is_replaced(web: WebServer) -> None:
    web.start()
    assert web.wait_for_workers()
    killed = web.kill_worker()
    assert web.wait_for_workers(without=killed)
    assert _get(web.url + "/") == "hello"


def test_a_graceful_end_finishes_open_requests(web: WebServer) -> None:
    web.start()
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(_get(web.url + "/slow")))
    client.start()
    assert wait_until(lambda: "slow began" in web.log_text(), seconds=60)
    assert web.terminate()
    client.join(60)
    assert answers == ["hello"]
    assert web.exit_code() == 0


def test_a_kill_ends_master_and_workers_at_once_and_a_start_brings_them_back(web: WebServer) -> None:
    web.start()
    url = web.url
    began = time.monotonic()
    web.kill()
    assert time.monotonic() - began < web.stop_seconds  # it waited for no request
    assert web.exit_code() == -signal.SIGKILL
    assert web.pids == []
    # A child that is killed between its fork and its program still holds the socket for a moment.
    assert wait_until(lambda: not port_is_taken(web.port), seconds=60)
    web.start()
    assert web.url == url
    assert _get(url + "/") == "hello"


def test_an_application_that_does_not_get_ready_is_reported_with_its_answer(data_dir: Path, project: Path) -> None:
    environment = {"STATUS": "503 Service Unavailable", "WORD": "mongo: error"}
    web = WebServer(environment, data_dir=data_dir, project=project, workers=1)
    for web.start_seconds in (5, 120):  # a slow machine needs longer until the server answers at all
        with pytest.raises(LocalError) as raised:
            web.start()
        if "answers 503" in str(raised.value):
            break
    assert "answers 503: mongo: error" in str(raised.value)
    assert not web.is_running()
    with pytest.raises((OSError, http.client.HTTPException)):
        _get(web.url + "/")


def test_a_kill_of_no_worker_is_an_error(web: WebServer) -> None:
    with pytest.raises(LocalError, match="No worker"):
        web.kill_worker()
