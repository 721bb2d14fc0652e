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
from edgechat.tests.own_stores import OwnStores

PROJECT = Path(__file__).parents[3]
CHAT = "POST /api/v1/chat/conversations/"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_send_is_one_trace_with_its_stores_and_the_call_to_the_model(
    start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    with collector() as server:
        web = start_web(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{server.address}/",
            # Of traces that begin here, none; those of a caller go on, if the caller keeps them.
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG="0",
        )
        alice = Person(web.url, "alice")
        conversation = alice.new_conversation()
        not_kept = f"00-{TRACE[::-1]}-b7ad6b7169203331-00"
        assert alice.get("auth/me", headers={"traceparent": not_kept}).status_code == 200
        sent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        url = f"chat/conversations/{conversation}/messages"
        assert alice.post(url, json={"content": "very secret words"}, headers=sent).status_code == 200
        again = {"email": alice.email, "password": alice.password}
        assert alice.post("auth/register", json=again, headers=sent).status_code == 400
        assert alice.request("BREW", "health", headers=sent).status_code == 405
        alice.close()

        def trace() -> dict[str, dict[str, Any]]:
            mine = [span for span in server.spans() if span.trace_id.hex() == TRACE]
            return {span.name: {each.key: each.value for each in span.attributes} for span in mine}

        eventually(lambda: any(name.startswith(CHAT) for name in trace()) and len(trace()) > 5)
        (name,) = (name for name in eventually(trace) if name.startswith(CHAT))
        eventually(lambda: [each for each in trace() if each.startswith("generate_content ")])
        found = trace()
        assert found[name]["http.response.status_code"].int_value == 200
        (call,) = (found[each] for each in found if each.startswith("generate_content "))
        assert call["gen_ai.operation.name"].string_value == "generate_content"
        assert call["gen_ai.usage.output_tokens"].int_value > 0
        systems = {each["db.system.name"].string_value for each in found.values() if "db.system.name" in each}
        assert systems == {"postgresql", "mongodb", "redis"}
        eventually(lambda: [span for span in server.spans() if span.name == "_OTHER /api/v1/health"])
        secrets = (b"secret words", b"BREW", alice.email.encode())
        assert not any(secret in body for _, body in server.posted for secret in secrets)
        assert {span.trace_id.hex() for span in server.spans()} == {TRACE}
        assert web.terminate()


def test_while_the_collector_is_dead_or_hangs_no_spans_are_made_and_nothing_waits(
    own_stores: OwnStores, start_web: Callable[..., WebServer], eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    # With its own stores, because other tests damage the shared ones, which the log tells with a traceback.
    with collector(dead=True) as server:
        web = start_web(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{server.address}",
            SENTRY_DSN="http://key@127.0.0.1:9/1",
            **own_stores.env,
        )
        alice = Person(web.url, "alice")

        def away_from(fault: str, *, times: int) -> None:
            assert alice.get("auth/me").status_code == 200
            eventually(lambda: _is_paused(web))
            before = _spans(web, "ended"), _spans(web, "sent")
            assert _spans(web, "failed") > 0
            began = time.monotonic()
            assert {alice.get("auth/me").status_code for _ in range(200)} == {200}
            print(f"Beside a collector that {fault}: 200 requests {time.monotonic() - began:.1f} s.")  # noqa: T201
            assert (_spans(web, "ended"), _spans(web, "sent")) == before
            eventually(lambda: web.log_text().count("collector_away") >= times)

        def back(*, times: int) -> None:
            eventually(lambda: not _is_paused(web))
            eventually(lambda: web.log_text().count("collector_back") >= times)
            trace = f"{times:032x}"
            sent = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}

            def is_traced() -> bool:
                assert alice.get("auth/me", headers=sent).status_code == 200
                return any(span.trace_id.hex() == trace for span in server.spans())

            eventually(is_traced)

        away_from("is dead", times=1)
        server.start()
        back(times=1)
        server.answers.clear()
        away_from("hangs", times=2)
        server.answers.set()
        back(times=2)

        server.answers.clear()
        assert alice.get("auth/me").status_code == 200
        alice.close()
        began = time.monotonic()
        assert web.terminate()
        print(f"Beside a collector that hangs: the stop {time.monotonic() - began:.1f} s.")  # noqa: T201
    assert "Traceback" not in web.log_text()


def _is_paused(web: WebServer) -> bool:
    return Scrape(web.url).total("edgechat_traces_paused") == 1


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
