"""Spans and exceptions, as a collector and Sentry receive them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import Person
from edgechat.local.web import WebServer
from edgechat.metrics.tests.scrape import Scrape
from edgechat.telemetry.tests.collector import collector

PROJECT = Path(__file__).parents[3]
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_send_is_one_trace_with_its_stores_and_the_call_to_the_model(
    start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    with collector() as server:
        web = start_web(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{server.address}/")
        alice = Person(web.url, "alice")
        conversation = alice.new_conversation()
        sent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        url = f"chat/conversations/{conversation}/messages"
        assert alice.post(url, json={"content": "very secret words"}, headers=sent).status_code == 200
        assert alice.request("BREW", "health").status_code == 405
        alice.close()

        def trace() -> dict[str, dict[str, Any]]:
            mine = [span for span in server.spans() if span.trace_id.hex() == TRACE]
            return {span.name: {each.key: each.value for each in span.attributes} for span in mine}

        route = "POST /api/v1/chat/conversations/<conversation_id>/messages"
        eventually(lambda: any(name.startswith("POST /") for name in trace()) and len(trace()) > 5)
        (name,) = (name for name in eventually(trace) if name.startswith("POST /"))
        assert name.partition("conversations/")[0] == route.partition("conversations/")[0]
        eventually(lambda: [each for each in trace() if each.startswith("generate_content ")])
        found = trace()
        assert found[name]["http.response.status_code"].int_value == 200
        (call,) = (found[each] for each in found if each.startswith("generate_content "))
        assert call["gen_ai.operation.name"].string_value == "generate_content"
        assert call["gen_ai.usage.output_tokens"].int_value > 0
        systems = {each["db.system.name"].string_value for each in found.values() if "db.system.name" in each}
        assert systems == {"postgresql", "mongodb", "redis"}
        eventually(lambda: [span for span in server.spans() if span.name == "_OTHER /api/v1/health"])
        assert not any(b"secret words" in body or b"BREW" in body for _, body in server.posted)
        assert web.terminate()


def test_a_collector_that_hangs_costs_spans_and_neither_requests_nor_the_stop(
    start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    queue = 64
    with collector() as server:
        server.answers.clear()
        web = start_web(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{server.address}",
            OTEL_BSP_MAX_QUEUE_SIZE=str(queue),
            SENTRY_DSN="http://key@127.0.0.1:9/1",
        )
        alice = Person(web.url, "alice")
        began = time.monotonic()
        assert {alice.get("auth/me").status_code for _ in range(200)} == {200}
        seconds = [time.monotonic() - began]
        eventually(lambda: _spans(web, "failed"))
        assert _spans(web, "sent") == 0
        assert "collector_away" in web.log_text()

        # What was kept meanwhile is bounded: the collector gets that, and what ends later.
        before = _spans(web, "ended")
        assert before > 3 * queue
        server.answers.set()
        eventually(lambda: "collector_back" in web.log_text())
        assert alice.get("auth/me", headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}).status_code == 200
        eventually(lambda: [span for span in server.spans() if span.trace_id.hex() == TRACE])
        later = _spans(web, "ended") - before
        # A batch was on its way, and its connection broke off.
        assert len(server.spans()) <= 3 * queue + later

        server.answers.clear()
        assert alice.get("auth/me").status_code == 200
        alice.close()
        began = time.monotonic()
        assert web.terminate()
        seconds.append(time.monotonic() - began)
        print("Beside a collector that hangs: 200 requests {:.1f} s, the stop {:.1f} s.".format(*seconds))  # noqa: T201
    assert "Traceback" not in web.log_text()


def _spans(web: WebServer, state: str) -> float:
    return Scrape(web.url).total("edgechat_spans_total", state=state)


def _python(program: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import django\ndjango.setup()\n{program}"],
        cwd=PROJECT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


RAISING = """
import structlog
from edgechat.telemetry import exceptions
exceptions.start()
words = "very secret words"
try:
    raise ValueError(words)
except ValueError:
    structlog.get_logger("test").exception("failed", request_id="request-1", user="alice@example.com")
exceptions.stop()
"""


def test_sentry_gets_the_type_and_the_place_of_an_exception_and_no_text() -> None:
    with collector() as server:
        _python(RAISING, SENTRY_DSN=f"http://key@{server.address}/1")
        ((path, body),) = server.posted
    assert path == "/api/1/envelope/"
    assert b'"ValueError"' in body
    assert b'"request-1"' in body
    for text in (b"secret words", b"alice@", socket.gethostname().encode()):
        assert text not in body


def test_without_the_settings_nothing_is_imported() -> None:
    program = """
import runpy, sys
import edgechat.wsgi
from edgechat.telemetry import exceptions, exporter
exporter.start()
exceptions.start()
loaded = ("opentelemetry", "google.protobuf", "sentry_sdk")
print([name for name in sys.modules if name.startswith(loaded)])
"""
    assert _python(program).splitlines()[-1] == "[]"
