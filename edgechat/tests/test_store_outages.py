"""A store that is down: 503 where it is needed, answers where it is not, and no details in the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from accounts.models import AuditEvent
from accounts.tests.staff import superuser
from conftest import Api, Person, assert_error, at_once
from edgechat.tests.web_settings import WITHOUT_MONGODB, WITHOUT_POSTGRESQL

pytestmark = pytest.mark.faults
AWAY = (503, "store_unavailable", "The service is temporarily unavailable, please try again")


def ask(api: Api, *calls: tuple[str, str, Any]) -> list[httpx2.Response]:
    """All at the same time, because each waits until the store's time is over."""
    return at_once(len(calls), lambda number: api.request(*calls[number][:2], json=calls[number][2]))


def test_without_postgresql(web_with: Callable[..., str], alice: Person) -> None:
    url = web_with(**WITHOUT_POSTGRESQL)
    credentials = {"email": alice.email, "password": alice.password}
    with Api(url, token=alice.tokens["access_token"]) as api:
        *answers, one, ready, overview = ask(
            api,
            ("GET", "auth/me", None),
            ("POST", "auth/login", credentials),
            ("POST", "auth/register", credentials),
            ("POST", "auth/refresh", {"refresh_token": alice.tokens["refresh_token"]}),
            ("POST", "auth/password/forgot", {"email": alice.email}),
            ("GET", "chat/conversations", None),
            ("POST", "ai/complete", {"prompt": "hello"}),
            ("GET", "usage/me", None),
            ("DELETE", "users/me", None),
            ("GET", "health/db", None),
            ("GET", "health/ready", None),
            ("GET", f"{url}/health", None),
        )
        for answer in answers:
            assert_error(answer, *AWAY)
        assert (one.status_code, one.json()) == (503, {"status": "error", "database": "error"})
        checks = {"database": "error", "mongo": "connected", "redis": "connected"}
        assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "checks": checks})
        assert (overview.status_code, overview.json()["database"]) == (503, "error")
        assert api.get("health").json() == {"status": "ok"}
        assert api.get("nothing").status_code == 404
        assert api.get("auth/me", headers={"Authorization": "Bearer x"}).status_code == 401
        assert api.post("auth/login").status_code == 422
    assert alice.get("auth/me").status_code == 200


def test_without_mongodb(web_with: Callable[..., str], register: Callable[..., Person]) -> None:
    alice = register("alice", web_with(**WITHOUT_MONGODB))
    path = f"chat/conversations/{'0' * 24}"
    *answers, one, ready = ask(
        alice,
        ("POST", "chat/conversations", {}),
        ("GET", "chat/conversations", None),
        ("GET", path, None),
        ("DELETE", path, None),
        ("POST", f"{path}/messages", {"content": "hello"}),
        ("GET", f"{path}/messages", None),
        ("GET", f"{path}/messages/{'0' * 24}:00000001", None),
        ("GET", "users/me/export", None),
        ("GET", "health/mongo", None),
        ("GET", "health/ready", None),
    )
    for answer in answers:
        assert_error(answer, *AWAY)
    assert (one.status_code, one.json()) == (503, {"status": "error", "mongo": "error"})
    checks = {"database": "connected", "mongo": "error", "redis": "connected"}
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "checks": checks})
    with superuser(alice.origin) as root:
        assert root.submit(f"accounts/user/{alice.id}/export/").status_code == 503
    assert not AuditEvent.objects.filter(user_id=alice.id, event="data_exported").exists(), "nothing was exported"
    assert_error(alice.get("chat/conversations/malformed"), 404, "not_found", "Conversation not found")
    assert alice.get("users/me").status_code == 200
    assert alice.post("ai/complete", json={"prompt": "hello"}).json()["text"] == "Echo: hello"
    # Eight calls that found no MongoDB, three others, and the registration's own. Health checks do not count.
    assert alice.get("usage/me").json()["total_requests"] == 12
