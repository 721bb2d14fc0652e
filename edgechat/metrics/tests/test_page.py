"""GET /metrics: who may read it, and that it counts towards nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import RequestFactory, override_settings
from rest_framework.request import Request

from conftest import Api, Person, ask
from edgechat.metrics.page import CONTENT_TYPE
from edgechat.metrics.tests.scrape import Scrape
from edgechat.metrics.views import _has_token
from edgechat.tests.published import ERROR, check_json
from edgechat.tests.web_settings import METRICS_TOKEN, PRODUCTION, STRICT

WebWith = Callable[..., str]


def test_in_development_it_is_open(web_url: str, eventually: Callable[..., object]) -> None:
    for path in ("metrics", "metrics/"):
        answer = ask("GET", f"{web_url}/{path}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        assert answer.headers["Cache-Control"] == "no-store"
    eventually(lambda: Scrape(web_url).total("edgechat_processes") == 2)  # the second may be just starting


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Bearer {METRICS_TOKEN}x",
        f"Bearer {METRICS_TOKEN[1:]}",
        f"Basic {METRICS_TOKEN}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_in_production_it_is_absent_without_its_token(
    web_with: WebWith, method: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = ask(method, f"{web_with(**PRODUCTION)}/metrics", headers=headers)
    assert answer.status_code == 404
    if method != "HEAD":
        check_json(ERROR, answer.json(), "/metrics")
        assert answer.json()["code"] == "not_found"


def test_in_production_it_is_read_with_its_token(web_with: WebWith) -> None:
    for scheme in ("Bearer", "bearer"):
        answer = ask("GET", f"{web_with(**PRODUCTION)}/metrics", headers={"Authorization": f"{scheme} {METRICS_TOKEN}"})
        assert answer.status_code == 200
        assert "edgechat_http_requests_total" in answer.text


def test_without_a_token_in_the_settings_no_token_is_right() -> None:
    for given in ("Bearer ", "Bearer", "Bearer x"):
        request = Request(RequestFactory().get("/metrics", headers={"Authorization": given}))
        with override_settings(METRICS_TOKEN=""):
            assert not _has_token(request)


def test_it_has_no_rate_limit_and_answers_for_every_host(web_with: WebWith) -> None:
    with Api(web_with(**STRICT)) as client:
        for _ in range(8):
            answer = client.get(f"{client.origin}/metrics", headers={"Host": "10.1.2.3:8000"})
            assert answer.status_code == 200


def test_it_is_not_counted_as_a_request_of_a_user(alice: Person) -> None:
    before = alice.get("usage/me").json()["total_requests"]
    assert alice.get(f"{alice.origin}/metrics").status_code == 200
    assert alice.get("usage/me").json()["total_requests"] == before + 1
