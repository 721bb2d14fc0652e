"""The health calls, with every store up and with each one down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
import pytest

import conftest
from edgechat import __version__
from edgechat.tests.web_settings import STRICT, WITHOUT_MONGODB, WITHOUT_POSTGRESQL, WITHOUT_REDIS

UP: dict[str, dict[str, Any]] = {
    "/": {"status": "ok", "app": "EdgeChat Backend"},
    "/api/v1/health": {"status": "ok"},
    "/api/v1/health/ready": {
        "status": "ok",
        "checks": {"database": "connected", "mongo": "connected", "redis": "connected"},
    },
    "/api/v1/health/db": {"status": "ok", "database": "connected"},
    "/api/v1/health/mongo": {"status": "ok", "mongo": "connected"},
    "/api/v1/health/redis": {"status": "ok", "redis": "connected"},
    "/api/health": {"status": "healthy"},
}
STORES = {"database": "/api/v1/health/db", "mongo": "/api/v1/health/mongo", "redis": "/api/v1/health/redis"}
GONE = {"database": WITHOUT_POSTGRESQL, "mongo": WITHOUT_MONGODB, "redis": WITHOUT_REDIS}


def ask(origin: str, path: str, method: str = "GET") -> httpx2.Response:
    return conftest.ask(method, origin + path)


@pytest.mark.parametrize("path", list(UP))
def test_bodies_with_every_store_there(web_url: str, path: str) -> None:
    for form in (path, path if path == "/" else f"{path}/"):
        answer = ask(web_url, form)
        assert (answer.status_code, answer.json()) == (200, UP[path])
        assert answer.headers["X-Request-ID"]
    assert ask(web_url, path, "HEAD").status_code == 200


def overview(origin: str) -> tuple[int, dict[str, Any]]:
    answer = ask(origin, "/health")
    body = answer.json()
    timestamp = body.pop("timestamp")
    assert timestamp.endswith("Z")
    datetime.fromisoformat(timestamp)
    return answer.status_code, body


def test_the_overview_tells_version_and_environment(web_url: str) -> None:
    same = {"version": __version__, "environment": "development"}
    assert overview(web_url) == (200, {"status": "healthy", **same, "database": "connected"})


@pytest.mark.parametrize("gone", list(STORES))
def test_a_store_that_is_gone_is_named(web_with: Callable[..., str], gone: str) -> None:
    url = web_with(**GONE[gone])
    ready = ask(url, "/api/v1/health/ready")
    checks = {name: "error" if name == gone else "connected" for name in STORES}
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "checks": checks})
    for name, path in STORES.items():
        answer = ask(url, path)
        expected = (503, {"status": "error", name: "error"}) if name == gone else (200, UP[path])
        assert (answer.status_code, answer.json()) == expected
    for path in ("/", "/api/v1/health", "/api/health"):
        assert (ask(url, path).status_code, ask(url, path).json()) == (200, UP[path])
    same = {"version": __version__, "environment": "development"}
    if gone == "database":
        assert overview(url) == (503, {"status": "unhealthy", **same, "database": "error"})
    else:
        assert overview(url) == (200, {"status": "healthy", **same, "database": "connected"})


def test_the_name_is_a_setting(web_with: Callable[..., str]) -> None:
    assert ask(web_with(**STRICT), "/").json() == {"status": "ok", "app": STRICT["APP_NAME"]}
