"""Answers that are cached for AI_CACHE_SECONDS."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ai.calls.cache import forget_answers
from ai.tests.test_complete_stream import EVENT_STREAM, complete, read_events, text_of
from ai.tests.test_summarize import paragraphs
from conftest import Api, Person, at_once
from edgechat.local.web import WebServer
from edgechat.stores.redis import redis_client
from edgechat.tests.web_settings import WITHOUT_REDIS
from usage.models import Budget, LedgerEntry
from usage.processes import LEASE_SECONDS

ModelCalls = Callable[[str], list[dict[str, Any]]]
Eventually = Callable[..., Any]
NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "cached_tokens": 0,
    "thinking_tokens": 0,
    "estimated": False,
}
KEPT = {"AI_CACHE_SECONDS": "300", "CONTEXT_MAX_TOKENS": "4000"}


@pytest.fixture
def caching(web_with: Callable[..., str]) -> str:
    """The URL of two processes that cache answers."""
    return web_with(**KEPT, WEB_CONCURRENCY="2")


@pytest.fixture
def carol(caching: str, register: Callable[..., Person]) -> Person:
    return register("carol", caching)


def keys_of(person: Person) -> list[bytes]:
    return list(redis_client().scan_iter(f"edgechat:ai:cache:{{{person.id}}}*", count=1000))


def test_the_same_again_costs_no_tokens_and_is_a_request(carol: Person, model_calls: ModelCalls) -> None:
    body = {"prompt": f"again-{carol.id} 😀", "system_instruction": "Be brief"}
    first = carol.post("ai/complete", json=body)
    second = carol.post("ai/complete", json=body)
    assert (first.status_code, first.json()["cached"]) == (200, False)
    assert (second.status_code, second.json()) == (200, {**first.json(), "usage": NO_TOKENS, "cached": True})
    assert len(model_calls(body["prompt"])) == 1
    assert LedgerEntry.objects.filter(user_id=carol.id).count() == 1
    # Each Person starts with a request for `auth/me`.
    assert carol.get("usage/me").json()["total_requests"] == 3
    assert carol.get("usage/me").json()["tokens"]["total"] == first.json()["usage"]["total_tokens"]


def test_an_answer_that_a_budget_cut_short_is_not_kept(carol: Person) -> None:
    body = {"prompt": f"[[length=4000]]short-{carol.id}"}
    Budget.objects.create(user_id=carol.id, token_limit=100)
    assert carol.post("ai/complete", json=body).json()["finish_reason"] == "MAX_TOKENS"
    Budget.objects.filter(user_id=carol.id).delete()
    answer = carol.post("ai/complete", json=body).json()
    assert (answer["finish_reason"], answer["cached"], len(answer["text"])) == ("STOP", False, 4000)


@pytest.mark.parametrize("reason", ["MAX_TOKENS", "OTHER", "MALFORMED_FUNCTION_CALL"])
@pytest.mark.parametrize("text", ["some words", "[[empty=1]]"])
def test_an_answer_that_did_not_come_to_its_end_is_not_kept(
    carol: Person, model_calls: ModelCalls, reason: str, text: str
) -> None:
    prompt = f"[[finish={reason}]]{text}half-{carol.id}"
    answers = [carol.post("ai/complete", json={"prompt": prompt}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503 if "empty" in text else 200] * 2
    assert [answer.json().get("cached") for answer in answers] == [None if "empty" in text else False] * 2
    assert len(model_calls(f"half-{carol.id}")) == 2
    answers = [carol.post("ai/summarize", json={"text": prompt}) for _ in range(2)]
    assert [answer.json().get("cached") for answer in answers] == [None if "empty" in text else False] * 2
    assert len(model_calls(f"half-{carol.id}")) == 4


def test_an_empty_answer_is_not_kept(carol: Person, model_calls: ModelCalls) -> None:
    for text in ("[[empty=1]]", "[[say=%20%0A]]"):
        prompt = f"{text}empty-{carol.id}"
        answers = [carol.post("ai/complete", json={"prompt": prompt}) for _ in range(2)]
        assert [(answer.status_code, answer.json()["cached"]) for answer in answers] == [(200, False)] * 2
    assert len(model_calls(f"empty-{carol.id}")) == 4


def test_a_stream_from_the_cache_is_one_delta_and_done(carol: Person, model_calls: ModelCalls) -> None:
    prompt = f"[[chunks=5]]stream-{carol.id} one two three four five"
    first, second = complete(carol, prompt), complete(carol, prompt)
    assert [name for name, _ in second] == ["retry", "delta", "done"]
    assert text_of(second) == text_of(first) == second[-1][1]["text"]
    assert second[-1][1] == {**first[-1][1], "usage": NO_TOKENS, "cached": True}
    assert carol.post("ai/complete", json={"prompt": prompt}).json() == second[-1][1]
    assert len(model_calls(prompt.partition("]]")[2])) == 1


def test_whatever_shapes_an_answer_makes_another_one(
    carol: Person, caching: str, register: Callable[..., Person], model_calls: ModelCalls
) -> None:
    marker = f"shape-{carol.id}"
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    bodies: list[dict[str, Any]] = [
        {"prompt": marker},
        {"prompt": f"{marker} "},
        {"prompt": marker, "system_instruction": "s"},
        {"prompt": marker, "response_schema": schema},
    ]
    answers = [carol.post("ai/complete", json=body) for body in bodies]
    wishes: list[dict[str, Any]] = [{}, {"style": "bullets"}, {"max_words": 10}, {"language": "German"}]
    answers += [carol.post("ai/summarize", json={"text": marker, **wish}) for wish in wishes]
    answers.append(register("dave", caching).post("ai/complete", json=bodies[0]))
    assert [(answer.status_code, answer.json()["cached"]) for answer in answers] == [(200, False)] * 9
    assert len(model_calls(marker)) == 9


def test_a_summary_is_kept_with_its_source_told(carol: Person, model_calls: ModelCalls) -> None:
    body = {"text": paragraphs(f"kept-{carol.id}", "[[say=one]]", "[[say=two]]")}
    first = carol.post("ai/summarize", json=body)
    asked = len(model_calls(f"kept-{carol.id}"))
    second = carol.post("ai/summarize", json=body)
    assert (first.status_code, first.json()["cached"], asked) == (200, False, 2)
    assert second.json() == {**first.json(), "usage": NO_TOKENS, "cached": True}
    assert len(model_calls(f"kept-{carol.id}")) == asked


@pytest.mark.parametrize("headers", [{}, EVENT_STREAM])
def test_twenty_at_once_are_one_call(carol: Person, model_calls: ModelCalls, headers: dict[str, str]) -> None:
    prompt = f"[[delay=0.5]]twenty-{carol.id}"
    answers = at_once(20, lambda _: carol.post("ai/complete", json={"prompt": prompt}, headers=headers))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert sum('"cached":false' in answer.text for answer in answers) == 1
    assert len(model_calls(f"twenty-{carol.id}")) == 1
    assert LedgerEntry.objects.filter(user_id=carol.id).count() == 1


def test_a_failure_is_neither_kept_nor_shared(carol: Person, model_calls: ModelCalls) -> None:
    prompt = f"[[delay=0.2]][[fail_first=2]][[key=cache-{carol.id}]]"
    answers = at_once(6, lambda _: carol.post("ai/complete", json={"prompt": prompt}))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [503] * 2
    assert len(model_calls(f"cache-{carol.id}")) == 3


def test_a_blocked_answer_is_not_kept(carol: Person, model_calls: ModelCalls, eventually: Eventually) -> None:
    prompt = f"[[block=answer]]blocked-{carol.id}"
    for _ in range(2):
        assert carol.post("ai/complete", json={"prompt": prompt}).status_code == 422
        assert carol.post("ai/summarize", json={"text": prompt}).status_code == 422
    assert len(model_calls(f"blocked-{carol.id}")) == 4
    eventually(lambda: keys_of(carol) == [])  # the lock is given back after the answer


def test_who_hangs_up_leaves_the_turn_to_the_next(
    carol: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    marker = f"turn-{carol.id}"
    body = {"prompt": f"[[chunks=20]][[gap=0.4]]{marker} " + "word " * 20}
    with ThreadPoolExecutor(1) as pool:
        with carol.stream("POST", "ai/complete", json=body, headers=EVENT_STREAM) as leader:
            events = read_events(leader.iter_lines())
            assert [next(events)[0], next(events)[0]] == ["retry", "delta"]
            follower = pool.submit(carol.post, "ai/complete", json=body)
        answer = follower.result()
    assert (answer.status_code, answer.json()["cached"]) == (200, False)
    eventually(lambda: [call["outcome"] for call in model_calls(marker)] == ["client_gone", "complete"])


def test_the_turn_lasts_as_long_as_the_call(carol: Person, model_calls: ModelCalls) -> None:
    prompt = f"[[delay={LEASE_SECONDS + 2}]]slow-{carol.id}"
    answers = at_once(3, lambda _: carol.post("ai/complete", json={"prompt": prompt}))
    assert sorted(answer.json()["cached"] for answer in answers) == [False, True, True]
    assert len(model_calls(f"slow-{carol.id}")) == 1


@pytest.mark.faults
def test_a_killed_process_holds_nobody_up(
    start_web: Callable[..., WebServer], carol: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    doomed = start_web(**KEPT)
    marker = f"killed-{carol.id}"
    body = {"prompt": f"{marker} [[chunks=2]][[gap=5]]one two"}
    with ThreadPoolExecutor(1) as pool, Api(doomed.url, token=carol.tokens["access_token"]) as phone:
        lost = pool.submit(phone.post, "ai/complete", json=body)
        eventually(lambda: model_calls(marker))
        doomed.kill()
        answer = carol.post("ai/complete", json=body)
        assert lost.exception() is not None
    assert (answer.status_code, answer.json()["cached"]) == (200, False)
    assert len(model_calls(marker)) == 2


def test_without_redis_everybody_asks_the_model(
    web_with: Callable[..., str], register: Callable[..., Person], model_calls: ModelCalls
) -> None:
    carol = register("carol", web_with(**WITHOUT_REDIS))
    prompt = f"alone-{carol.id}"
    answers = at_once(5, lambda _: carol.post("ai/complete", json={"prompt": prompt}))
    assert [(answer.status_code, answer.json()["cached"]) for answer in answers] == [(200, False)] * 5
    assert len(model_calls(prompt)) == 5


def test_nothing_is_kept_unless_it_was_asked_for(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"unkept-{alice.id}"
    for _ in range(2):
        assert alice.post("ai/complete", json={"prompt": prompt}).json()["cached"] is False
    assert len(model_calls(prompt)) == 2
    assert keys_of(alice) == []


def test_keys_hold_no_prompt_and_expire(carol: Person, eventually: Eventually) -> None:
    carol.post("ai/complete", json={"prompt": f"secret-{carol.id}"})
    keys = eventually(lambda: found if len(found := keys_of(carol)) == 2 else None)
    assert not any(b"secret" in key for key in keys)
    assert all(0 < redis_client().ttl(key) <= 300 for key in keys)


def test_a_deleted_account_s_answers_are_gone(carol: Person, eventually: Eventually) -> None:
    for number in range(3):
        carol.post("ai/complete", json={"prompt": f"number {number}"})
    eventually(lambda: len(keys_of(carol)) == 4)
    assert carol.delete("users/me").status_code == 204
    assert keys_of(carol) == []
    forget_answers(carol.id)


def test_what_is_answered_after_the_deletion_is_not_kept(carol: Person, eventually: Eventually) -> None:
    prompt = "[[chunks=20]][[gap=3]]" + "word " * 20
    with carol.stream("POST", "ai/complete", json={"prompt": prompt}, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        assert [next(events)[0], next(events)[0]] == ["retry", "delta"]
        assert carol.delete("users/me").status_code == 204
        *_, (name, _) = events
    assert name == "error"
    eventually(lambda: keys_of(carol) == [])
