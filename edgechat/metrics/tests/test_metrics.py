"""What the metrics say after calls.

Other tests use the shared processes at the same time, so a count there has grown at least by so much. A test of an
exact number, or of what only one process does, has web processes of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import call_command
from django.test import override_settings
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics import MetricWrapperBase

from conftest import Api, Person, ask
from conversations.tests.events import stream_send
from edgechat.local.web import WebServer
from edgechat.metrics import catalog, labels
from edgechat.metrics.tests.scrape import Scrape
from edgechat.tests.raw_client import RawClient
from edgechat.tests.web_settings import STRICT
from usage.models import Budget, LedgerEntry

Eventually = Callable[[Callable[[], Any]], Any]

MESSAGES = "api/v1/chat/conversations/<str:conversation_id>/messages"
SEND = {"method": "POST", "route": MESSAGES}
GEN_AI = "gen_ai_client_operation"


def grown(before: Scrape, name: str, **having: str) -> float:
    return Scrape(before.url).total(name, **having) - before.total(name, **having)


def has_grown(before: Scrape, name: str, **having: str) -> bool:
    return grown(before, name, **having) >= 1


@pytest.fixture
def start_apart(start_web: Callable[..., WebServer]) -> Callable[..., WebServer]:
    """`start_web` with a MongoDB database of its own: no other process takes its replies over, nor these processes
    those of other tests."""
    name = f"metrics_{uuid.uuid4().hex}"
    with override_settings(MONGODB_DB=name):  # without its indexes no reply is looked for
        call_command("ensure_transcript_indexes", verbosity=0)
    return partial(start_web, MONGODB_DB=name)


def send_twice(person: Person, conversation_id: str) -> None:
    for _ in range(2):
        assert person.say(conversation_id, "once only", client_message_id="k1").status_code == 200


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_request_is_counted_and_timed_by_the_template_of_its_route(alice: Person) -> None:
    before = Scrape(alice.origin)
    conversation_id = alice.new_conversation()
    assert alice.get(f"chat/conversations/{conversation_id}").status_code == 200
    assert alice.get(f"chat/conversations/{'0' * 24}").status_code == 404
    one = {"method": "GET", "route": "api/v1/chat/conversations/<str:conversation_id>"}
    assert grown(before, "edgechat_http_requests_total", **one, status="200") >= 1
    assert grown(before, "edgechat_http_requests_total", **one, status="404") >= 1
    assert grown(before, "edgechat_http_request_duration_seconds_count", **one) >= 2
    assert grown(before, "edgechat_http_request_duration_seconds_bucket", **one, le="+Inf") >= 2


def test_no_label_holds_what_a_client_sent(alice: Person) -> None:
    """Unknown paths and methods, and ids, make no new series."""
    marker = f"x{uuid.uuid4().hex[:10]}"
    conversation_id = alice.new_conversation(title=marker)
    assert ask("GET", f"{alice.origin}/api/v1/{marker}?q={marker}").status_code == 404
    assert ask("GET", f"{alice.origin}/static/{marker}.js").status_code == 404
    assert ask(marker.upper(), f"{alice.origin}/api/v1/auth/me").status_code in (401, 405)
    assert alice.say(conversation_id, marker).status_code == 200
    found = Scrape(alice.origin)
    assert found.total("edgechat_http_requests_total", route="none", status="404") >= 2
    assert found.total("edgechat_http_requests_total", method=labels.OTHER) >= 1
    told = {value for samples in found.samples.values() for each in samples for _, value in each}
    sent = (marker, marker.upper(), conversation_id, alice.email)
    assert [value for value in told if any(each in value for each in sent)] == []


def test_the_models_name_is_bounded() -> None:
    label = labels.BoundedLabel(3)
    assert [label(f"model-{number % 5}") for number in range(10)] == [
        *("model-0", "model-1", "model-2", labels.OTHER, labels.OTHER) * 2
    ]


def test_a_streamed_send_is_no_ordinary_request(
    start_apart: Callable[..., WebServer], register: Callable[..., Person]
) -> None:
    """In a process of its own: refused sends of other tests are ordinary requests."""
    alice = register("alice", start_apart(workers=1).url)
    events = stream_send(alice, alice.new_conversation(title="Streams"), "[[chunks=3]][[gap=0.2]]one two three")
    assert events[-1]["event"] == "done"
    found = Scrape(alice.origin)
    assert found.total("edgechat_http_request_duration_seconds_count", **SEND) == 0
    assert found.total("edgechat_http_first_event_seconds_count", **SEND) == 1
    assert found.total("edgechat_http_requests_total", **SEND, status="200") == 1


def test_a_long_request_is_timed_to_its_end(alice: Person, eventually: Eventually) -> None:
    conversation_id = alice.new_conversation(title="Long")
    before = Scrape(alice.origin)
    stream_send(alice, conversation_id, "[[chunks=3]][[gap=0.3]]one two three")
    assert alice.say(conversation_id, "[[delay=0.5]]not streamed").status_code == 200
    for streamed, least in (("true", 0.6), ("false", 0.5)):
        name, one = "edgechat_http_long_request_duration_seconds", {**SEND, "streamed": streamed}
        eventually(partial(has_grown, before, f"{name}_count", **one))
        assert grown(before, f"{name}_sum", **one) >= least


# --- Replies and calls to the model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "status"),
    [("hello", "complete"), ("[[status=503]]x", "failed"), ("[[block=answer]]x", "blocked")],
)
def test_replies_are_counted_by_their_end(alice: Person, eventually: Eventually, content: str, status: str) -> None:
    conversation_id = alice.new_conversation(title="Ends")
    before = Scrape(alice.origin)
    alice.say(conversation_id, content)
    eventually(partial(has_grown, before, "edgechat_reply_duration_seconds_count", status=status))


def test_a_running_reply_is_seen_and_a_stopped_one_counted(alice: Person, eventually: Eventually) -> None:
    conversation_id = alice.new_conversation(title="Stops")
    before = Scrape(alice.origin)
    path = f"chat/conversations/{conversation_id}/messages"
    with alice.stream("POST", f"{path}?stream=true", json={"content": "[[chunks=600]][[gap=0.2]]go on"}) as answer:
        opening = next(line for line in answer.iter_lines() if line.startswith("data: "))
        mid = json.loads(opening.removeprefix("data: "))["model_message"]["id"]
        eventually(lambda: Scrape(alice.origin).total("edgechat_replies_running") >= 1)
        eventually(lambda: Scrape(alice.origin).total("edgechat_http_streams_open") >= 1)
        assert alice.post(f"{path}/{mid}/stop").json()["status"] == "stopped"
    # The other process may have answered the request to stop.
    eventually(partial(has_grown, before, "edgechat_reply_duration_seconds_count", status="stopped"))
    eventually(partial(has_grown, before, f"{GEN_AI}_duration_seconds_count", error_type="cancelled"))


def test_a_repeated_send_is_counted_as_replayed(alice: Person) -> None:
    before = Scrape(alice.origin)
    send_twice(alice, alice.new_conversation(title="Once"))
    assert grown(before, "edgechat_replayed_sends_total") >= 1


def test_a_call_to_the_model_has_the_conventions_names_and_labels(alice: Person) -> None:
    before = Scrape(alice.origin)
    events = stream_send(alice, alice.new_conversation(title="Calls"), "[[chunks=4]][[gap=0.2]]one two three four")
    assert events[-1]["event"] == "done"
    one = {
        "gen_ai_operation_name": "generate_content",
        "gen_ai_provider_name": "gcp.gemini",
        "server_address": "127.0.0.1",
    }
    assert grown(before, f"{GEN_AI}_duration_seconds_count", **one, error_type="") >= 1
    assert grown(before, f"{GEN_AI}_time_to_first_chunk_seconds_count", **one) >= 1
    assert grown(before, f"{GEN_AI}_time_per_output_chunk_seconds_count", **one) >= 2
    bounds = [0.01 * 2**step for step in range(14)]
    for metric in (catalog.gen_ai_duration, catalog.gen_ai_first_chunk, catalog.gen_ai_output_chunk):
        assert metric._upper_bounds[:-1] == pytest.approx(bounds)


@pytest.mark.parametrize(("directive", "error_type"), [("status=429", "429"), ("status=500", "500"), ("rubbish=1", "")])
def test_a_failed_call_has_its_kind_of_error(alice: Person, directive: str, error_type: str) -> None:
    before = Scrape(alice.origin)
    assert alice.post("ai/complete", json={"prompt": f"[[{directive}]]x"}).status_code in (429, 503)
    if error_type:
        assert grown(before, f"{GEN_AI}_duration_seconds_count", error_type=error_type) >= 1
    else:  # the name of an exception
        kinds = {dict(each)["error_type"] for each in Scrape(alice.origin).samples[f"{GEN_AI}_duration_seconds_count"]}
        assert any(re.fullmatch(r"[A-Z]\w*Error", kind) for kind in kinds)


def test_tokens_and_cost_are_those_of_the_ledger(alice: Person) -> None:
    before = Scrape(alice.origin)
    assert alice.post("ai/complete", json={"prompt": "[[thoughts=70]][[cached=1]]count me"}).status_code == 200
    entry = LedgerEntry.objects.get(user_id=alice.id)
    assert entry.thinking_tokens == 70
    for kind in ("input", "output", "cached", "thinking"):
        least = getattr(entry, f"{kind}_tokens")
        assert grown(before, "edgechat_model_tokens_total", purpose="complete", type=kind) >= least
    cost = (entry.cost_micros or 0) / 10**6
    assert grown(before, "edgechat_model_cost_total", purpose="complete", currency="USD") >= cost - 1e-9


def test_a_refusal_by_a_budget_is_counted_by_budget(alice: Person) -> None:
    Budget.objects.create(user_id=alice.id, period="day", token_limit=1)
    before = Scrape(alice.origin)
    assert alice.post("ai/complete", json={"prompt": "too dear"}).status_code == 429
    assert grown(before, "edgechat_budget_refusals_total", budget="user_day") >= 1


# --- Limits, stores, backlogs, tasks ----------------------------------------------------------------------------------


def test_refusals_by_limits_are_counted(web_with: Callable[..., str]) -> None:
    with Api(web_with(**STRICT)) as client:
        before = Scrape(client.origin)
        answers = [client.get("auth/me").status_code for _ in range(7)]
    assert answers[-1] == 429
    assert grown(before, "edgechat_rate_limited_total", limit="address") >= 2


def test_a_failed_login_too_many_is_counted(alice: Person) -> None:
    before = Scrape(alice.origin)
    wrong = {"email": f"nobody-{uuid.uuid4().hex}@example.com", "password": "wrong password"}
    assert [ask("POST", f"{alice.origin}/api/v1/auth/login", json=wrong).status_code for _ in range(6)][-1] == 429
    assert grown(before, "edgechat_rate_limited_total", limit="login_lock") >= 1


def test_pools_stores_queues_and_backlogs_are_there(alice: Person, eventually: Eventually) -> None:
    alice.say(alice.new_conversation(), "uses every store")
    wanted = {
        *("edgechat_pool_in_use", "edgechat_pool_idle", "edgechat_pool_waiting", "edgechat_pool_limit"),
        *("edgechat_admission_working", "edgechat_admission_waiting", "edgechat_admission_wait_seconds_count"),
        *("edgechat_counting_backlog_seconds", "edgechat_counting_stream_entries", "edgechat_counting_held"),
        *("edgechat_deletions_pending", "edgechat_ledger_calls_open", "edgechat_settlements_deferred"),
        *("edgechat_upkeep_waiting", "edgechat_upkeep_skipped_total", "edgechat_requests_shed_total"),
        *("edgechat_store_down", "edgechat_store_failures_total", "edgechat_reply_take_overs_total"),
    }
    eventually(lambda: wanted <= Scrape(alice.origin).samples.keys())
    stores = {dict(each)["store"] for each in Scrape(alice.origin).samples["edgechat_pool_limit"]}
    assert stores == {"postgresql", "mongo", "redis"}


def test_every_background_task_has_an_age_and_runs_in_every_process(web_url: str, eventually: Eventually) -> None:
    def all_run() -> Scrape | None:
        found = Scrape(web_url)
        running = found.samples.get("edgechat_background_task_running", {})
        whole = set(running.values()) == {2.0} == {found.total("edgechat_processes")}
        return found if whole and found.total("edgechat_background_task_rounds_total", result="ok") else None

    found = eventually(all_run)  # the second process may be just starting
    ages, running = (found.samples[f"edgechat_background_task_{name}"] for name in ("age_seconds", "running"))
    assert ages.keys() == running.keys()
    assert len(ages) > 15
    assert all(0 <= age < 1000 for age in ages.values())


# --- Processes --------------------------------------------------------------------------------------------------------


def metric_files(web: WebServer) -> list[str]:
    [folder] = {
        Path(file.path).parent
        for pid in web.pids
        for file in psutil.Process(pid).open_files()
        if file.path.endswith(".db")
    }
    return sorted(re.sub(r"_\d+\.db$", "_PID.db", path.name) for path in folder.glob("*.db"))


@pytest.mark.faults
def test_killed_processes_leave_their_counts_and_nothing_else(
    start_apart: Callable[..., WebServer], register: Callable[..., Person], eventually: Eventually
) -> None:
    web = start_apart(workers=2)
    alice = register("alice", web.url)
    asked = 1  # a Person starts with a request for auth/me
    me = {"method": "GET", "route": "api/v1/auth/me", "status": "200"}
    files: list[str] = []
    for number in range(5):
        for _ in range(8):
            asked += alice.get("auth/me").status_code == 200
        pids = web.pids
        for pid in pids if number else pids[:1]:
            os.kill(pid, signal.SIGKILL)
        assert web.wait_for_workers(without=pids[0])
        eventually(lambda: Scrape(web.url).total("edgechat_http_requests_total", **me) == asked)  # noqa: B023
        eventually(lambda: Scrape(web.url).total("edgechat_processes") == 2)
        alice.say(alice.new_conversation(), "uses every store")
        known = eventually(lambda: metric_files(web))
        files = files or known
    assert set(known) <= {*files, "counter_ended.db", "histogram_ended.db"}
    assert len(known) < 40
    found = Scrape(web.url)
    assert found.total("edgechat_http_request_duration_seconds_count", method="GET", route=me["route"]) == asked


@pytest.mark.faults
def test_a_taken_over_reply_is_counted(
    start_apart: Callable[..., WebServer], register: Callable[..., Person], eventually: Eventually
) -> None:
    web = start_apart(workers=1)
    alice = register("alice", web.url)
    conversation_id = alice.new_conversation(title="Killed")
    url = f"{web.url}/api/v1/chat/conversations/{conversation_id}/messages?stream=true"
    client = RawClient(web.url, token=alice.tokens["access_token"])
    with client:
        body = json.dumps({"content": "[[chunks=40]][[gap=0.1]]killed " + "word " * 40}).encode()
        client.begin("POST", url.removeprefix(web.url), body, Content_Length=len(body), Content_Type="application/json")
        while b"event: delta" not in client._received:
            client.receive()
        killed = web.kill_worker()
    assert web.wait_for_workers(without=killed)
    for name, having in (
        ("edgechat_reply_take_overs_total", {"outcome": "restarted"}),
        ("edgechat_reply_duration_seconds_count", {"status": "complete"}),
    ):
        eventually(lambda: Scrape(web.url).total(name, **having) >= 1)  # noqa: B023


# --- Declarations -----------------------------------------------------------------------------------------------------


def test_every_metric_is_declared_in_the_catalog_with_a_help_text() -> None:
    declared = {each for each in vars(catalog).values() if isinstance(each, MetricWrapperBase)}
    known = {each for each in REGISTRY._collector_to_names if isinstance(each, MetricWrapperBase)}
    assert known == declared
    assert all(each._name.startswith(("edgechat_", "gen_ai_")) for each in declared)
    assert all(len(each._documentation) > 20 and each._documentation.endswith(".") for each in declared)


def test_gauges_end_with_their_process() -> None:
    gauges = [each for each in vars(catalog).values() if isinstance(each, Gauge)]
    assert len(gauges) > 15
    assert [each._name for each in gauges if not each._multiprocess_mode.startswith("live")] == []
