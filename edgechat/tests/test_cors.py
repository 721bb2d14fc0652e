"""What browsers on other origins may do."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

import conftest
from conftest import Person, new_address
from edgechat.tests.web_settings import TWO_PROCESSES

HERE, ELSEWHERE = "https://app.example.com", "https://other.example.com"
EXPOSED = {"X-Request-ID", "Retry-After", "ETag", "x-should-retry"}


def ask(origin: str, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    return conftest.ask(method, origin + path, headers=headers)


def listed(answer: httpx2.Response, header: str) -> set[str]:
    return {part.strip() for part in answer.headers.get(header, "").split(",") if part.strip()}


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/api/v1/usage/me", 401), ("/api/v1/nowhere", 404), ("/nowhere/", 404)]
)
def test_every_origin_may_read_answers_and_errors_without_credentials(web_url: str, path: str, status: int) -> None:
    answer = ask(web_url, path, Origin=ELSEWHERE)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, "*")
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert listed(answer, "Access-Control-Expose-Headers") == EXPOSED


def test_errors_of_a_signed_in_user_can_be_read(alice: Person) -> None:
    answers = [
        alice.get("chat/conversations/x", headers={"Origin": ELSEWHERE}),
        alice.post("ai/complete", json={}, headers={"Origin": ELSEWHERE}),
        alice.post("ai/complete", json={"prompt": "[[status=429]]"}, headers={"Origin": ELSEWHERE}),
        alice.post("ai/complete", json={"prompt": "[[status=503]]"}, headers={"Origin": ELSEWHERE}),
        alice.delete("usage/me", headers={"Origin": ELSEWHERE}),
    ]
    assert [answer.status_code for answer in answers] == [404, 422, 429, 503, 405]
    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {"*"}


def test_a_preflight_allows_what_clients_send(web_url: str) -> None:
    asked = (
        "authorization,content-type,idempotency-key,last-event-id,x-request-id,"
        # OpenAI's library in a browser:
        "openai-organization,openai-project,user-agent,x-stainless-arch,x-stainless-helper-method,x-stainless-lang,"
        "x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
        "x-stainless-runtime-version,x-stainless-timeout"
    )
    answer = ask(
        web_url,
        "/api/v1/chat/conversations",
        "OPTIONS",
        Origin=ELSEWHERE,
        **{"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked},
    )
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert set(asked.split(",")) <= listed(answer, "Access-Control-Allow-Headers")
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= listed(answer, "Access-Control-Allow-Methods")


def test_named_origins_get_credentials_and_others_nothing(web_with: Callable[..., str]) -> None:
    url = web_with(**TWO_PROCESSES)
    for origin in (HERE, "http://localhost:3000"):
        answer = ask(url, "/api/v1/usage/me", Origin=origin)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, origin)
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in answer.headers["Vary"].lower()
        assert listed(answer, "Access-Control-Expose-Headers") == EXPOSED
    for origin in (ELSEWHERE, f"{HERE}.evil.example", "http://app.example.com", "null"):
        answer = ask(url, "/api/v1/usage/me", Origin=origin)
        assert "Access-Control-Allow-Origin" not in answer.headers
        preflight = ask(url, "/", "OPTIONS", Origin=origin, **{"Access-Control-Request-Method": "GET"})
        assert "Access-Control-Allow-Origin" not in preflight.headers
    address = new_address()
    answers = [ask(url, "/", Origin=HERE, **address) for _ in range(21)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Access-Control-Allow-Origin"] == HERE
