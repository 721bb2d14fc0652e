"""Personal API keys: POST, GET and DELETE /auth/api-keys, and what a key may do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from accounts.api_keys.secrets import digest_of
from accounts.api_keys.services import MAX_API_KEYS
from accounts.models import ApiKey, AuditEvent, User
from accounts.tests.staff import helper, make_user
from conftest import Api, Person, assert_error, at_once
from edgechat.tests.calls import calls

REFUSED = "This call refuses API keys"


def new_key(person: Person, **body: Any) -> dict[str, Any]:
    answer = person.post("auth/api-keys", json={"name": "script", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def using(person: Person, made: dict[str, Any]) -> Api:
    return person.signed_in(made["key"])


def events_of(person: Person) -> list[tuple[str, Any]]:
    kinds = (AuditEvent.Event.API_KEY_CREATED, AuditEvent.Event.API_KEY_ENDED)
    found = AuditEvent.objects.filter(user_id=person.id, event__in=kinds).order_by("id")
    return [(event.event, event.details) for event in found]


def test_a_key_is_shown_once_and_stored_as_a_digest(alice: Person, bob: Person) -> None:
    made = new_key(alice, name=" nightly ", scopes=["chat", "chat"])
    assert re.fullmatch(r"ec_[A-Za-z0-9_-]{43}", made["key"])
    assert made["name"] == "nightly"
    assert (made["scopes"], made["expires_at"], made["last_used_at"]) == (["chat"], None, None)
    stored = ApiKey.objects.get(pk=made["id"])
    assert stored.digest == digest_of(made["key"])
    assert made["key"] not in json.dumps({name: str(value) for name, value in vars(stored).items()})
    listed = alice.get("auth/api-keys").json()
    assert listed == {"api_keys": [{name: value for name, value in made.items() if name != "key"}]}
    assert made["key"].startswith(made["prefix"])
    assert bob.get("auth/api-keys").json() == {"api_keys": []}
    assert_error(bob.delete(f"auth/api-keys/{made['id']}"), 404, "not_found", "Not found")
    assert made["key"] not in alice.get("users/me/export").text
    assert events_of(alice) == [("api_key_created", {"api_key": made["id"], "scopes": ["chat"]})]


def test_a_faulty_key_is_422(alice: Person) -> None:
    for body, field in (
        ({}, "body.name"),
        ({"name": "x" * 101}, "body.name"),
        ({"name": "x", "scopes": []}, "body.scopes"),
        ({"name": "x", "scopes": ["ai", "accounts"]}, "body.scopes.1"),
        ({"name": "x", "scopes": "ai"}, "body.scopes"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "body.expires_at"),
        ({"name": "x", "expires_at": "tomorrow"}, "body.expires_at"),
    ):
        answer = alice.post("auth/api-keys", json=body)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


def test_a_key_works_on_the_calls_of_its_scopes_only(alice: Person) -> None:
    both, ai, chat = new_key(alice), new_key(alice, scopes=["ai"]), new_key(alice, scopes=["chat"])
    assert both["scopes"] == ["ai", "chat"]
    conversation = alice.new_conversation(title="Titled")
    for made, allowed, refused in ((ai, "ai/models", "chat/conversations"), (chat, "chat/conversations", "ai/models")):
        with using(alice, made) as api:
            assert api.get(allowed).status_code == 200
            scope = "chat" if made is ai else "ai"
            detail = f"This needs an API key with the scope {scope}"
            assert_error(api.get(refused), 403, "permission_denied", detail)
    with using(alice, both) as api:
        sent = api.post(f"chat/conversations/{conversation}/messages", json={"content": "with a key"})
        assert sent.json()["model_message"]["content"] == "Echo: with a key"
        assert api.post("ai/summarize", json={"conversation_id": conversation}).status_code == 200
    with using(alice, ai) as api:
        answer = api.post("ai/summarize", json={"conversation_id": conversation})
        assert_error(answer, 403, "permission_denied", "This needs an API key with the scope chat")
        assert api.post("ai/summarize", json={"text": "one two"}).status_code == 200


def test_no_other_call_accepts_a_key(alice: Person) -> None:
    """Each call outside /ai, /openai and /chat that needs a token, with any method and id."""
    tried = 0
    with using(alice, new_key(alice)) as api:
        for method, path, view in calls():
            accepts = path.startswith(("ai/", "openai/", "chat/"))
            if accepts or not view.authentication_classes or "health" in path or path == "openapi.json":
                continue
            answer = api.request(method, re.sub(r"{\w+}", "1", path), json={})
            assert_error(answer, 403, "permission_denied", REFUSED)
            tried += 1
    assert tried > 25
    assert alice.get("auth/me").status_code == 200


def test_what_is_no_key_is_401(alice: Person) -> None:
    made = new_key(alice)
    for text in ("ec_", made["key"][:-1], made["key"] + "x", made["key"].swapcase(), "ec_é", "ec_" + "x" * 6000):
        answer = alice.get("ai/models", headers={b"Authorization": f"Bearer {text}".encode("latin-1")})
        key = text.startswith("ec_")
        detail = "The API key is not valid" if key else "The access token is not valid"
        assert_error(answer, 401, "not_authenticated", detail)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_expired_key_is_401_and_still_listed(alice: Person) -> None:
    made = new_key(alice, expires_at=(timezone.now() + timedelta(days=1)).isoformat())
    with using(alice, made) as api:
        assert api.get("ai/models").status_code == 200
        ApiKey.objects.filter(pk=made["id"]).update(expires_at=timezone.now() - timedelta(seconds=1))
        assert_error(api.get("ai/models"), 401, "token_expired", "The API key has expired")
    assert [key["id"] for key in alice.get("auth/api-keys").json()["api_keys"]] == [made["id"]]


def test_the_last_use_is_known_to_the_minute(alice: Person) -> None:
    made = new_key(alice)

    def last_use() -> str | None:
        [key] = alice.get("auth/api-keys").json()["api_keys"]
        used: str | None = key["last_used_at"]
        return used

    assert last_use() is None
    with using(alice, made) as api:
        api.get("ai/models")
        first = last_use()
        assert first is not None
        assert timezone.now() - datetime.fromisoformat(first) < timedelta(minutes=2)
        api.get("ai/models")
        old = timezone.now() - timedelta(minutes=3)
        ApiKey.objects.filter(pk=made["id"]).update(last_used_at=old)
        api.get("ai/models")
        assert ApiKey.objects.get(pk=made["id"]).last_used_at != old


def test_a_key_counts_as_its_user(alice: Person, eventually: Callable[..., Any]) -> None:
    with using(alice, new_key(alice)) as api:
        before = alice.get("usage/me").json()
        api.post("ai/complete", json={"prompt": "with a key"})
        api.get("ai/nothing")
    after = alice.get("usage/me").json()
    assert after["tokens"]["total"] > before["tokens"]["total"]
    assert after["total_requests"] - before["total_requests"] == 3


def test_an_account_has_a_bounded_number_of_keys(alice: Person) -> None:
    ApiKey.objects.bulk_create(
        [ApiKey(user_id=alice.id, name="k", digest=f"{alice.id}-{n}", scopes=["ai"]) for n in range(MAX_API_KEYS - 2)]
    )
    statuses = at_once(6, lambda _: alice.post("auth/api-keys", json={"name": "one more"}).status_code)
    assert sorted(statuses) == [201, 201, 409, 409, 409, 409]
    detail = f"An account can have {MAX_API_KEYS} API keys"
    refused = alice.post("auth/api-keys", json={"name": "one more"})
    assert_error(refused, 409, "too_many_api_keys", detail, context={"limit": MAX_API_KEYS})
    listed = alice.get("auth/api-keys").json()["api_keys"]
    assert len(listed) == MAX_API_KEYS
    assert alice.delete(f"auth/api-keys/{listed[0]['id']}").status_code == 204
    assert alice.post("auth/api-keys", json={"name": "one more"}).status_code == 201


def revoke(person: Person, made: dict[str, Any]) -> None:
    assert person.delete(f"auth/api-keys/{made['id']}").status_code == 204
    assert_error(person.delete(f"auth/api-keys/{made['id']}"), 404, "not_found", "Not found")
    assert person.get("auth/api-keys").json() == {"api_keys": []}


def change_the_password(person: Person, made: dict[str, Any]) -> None:
    body = {"password": "another password", "current_password": person.password}
    assert person.patch("users/me", json=body).status_code == 200


def deactivate_and_activate(person: Person, made: dict[str, Any]) -> None:
    staff = Person(person.origin, "staff")
    User.objects.filter(pk=staff.id).update(is_staff=True, is_superuser=True)
    for is_active in (False, True):
        assert staff.patch(f"users/{person.id}", json={"is_active": is_active}).status_code == 200
    staff.close()


@pytest.mark.parametrize(
    ("end", "reason"),
    [(revoke, "ended_by_user"), (change_the_password, "password_changed"), (deactivate_and_activate, "deactivated")],
)
def test_what_ends_a_key_ends_its_open_calls(
    alice: Person,
    model_calls: Callable[[str], list[dict[str, Any]]],
    eventually: Callable[..., Any],
    end: Any,
    reason: str,
) -> None:
    made = new_key(alice)
    marker = f"key-{alice.id}"
    prompt = "[[chunks=600]][[gap=0.2]]" + "word " * 600 + marker
    last: dict[str, Any] = {}

    def follow() -> None:
        streamed = {"Accept": "text/event-stream"}
        with (
            using(alice, made) as api,
            api.stream("POST", "ai/complete", json={"prompt": prompt}, headers=streamed) as it,
        ):
            for line in it.iter_lines():
                if line.startswith("data: "):
                    last.update(json.loads(line.removeprefix("data: ")))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    eventually(lambda: "text" in last)
    end(alice, made)
    thread.join(120)
    assert (last["code"], last["detail"]) == ("token_revoked", "The session has ended")
    assert eventually(lambda: [call["outcome"] for call in model_calls(marker)] == ["client_gone"])
    with using(alice, made) as api:
        assert_error(api.get("ai/models"), 401, "token_revoked", "The API key has ended")
    event, details = events_of(alice)[-1]
    assert (event, details["reason"]) == ("api_key_ended", reason)


def test_a_deleted_account_has_no_keys(alice: Person) -> None:
    made = new_key(alice)
    assert alice.delete("users/me").status_code == 204
    with using(alice, made) as api:
        assert api.get("ai/models").status_code == 401
    assert not ApiKey.objects.filter(pk=made["id"]).exists()


def test_logging_out_everywhere_leaves_keys(alice: Person) -> None:
    made = new_key(alice)
    assert alice.post("auth/logout-all").json()["sessions_ended"] == 1
    with using(alice, made) as api:
        assert api.get("ai/models").status_code == 200


def test_staff_list_and_end_keys(alice: Person, web_url: str) -> None:
    made = new_key(alice, name="seen by staff")
    path = "accounts/apikey/"
    with helper(web_url, "view_apikey") as reader:
        listed = reader.get(f"{path}?q={quote(alice.email)}").text
        assert "seen by staff" in listed
        assert made["prefix"] in listed
        shown = reader.get(f"{path}{made['id']}/change/").text
        assert digest_of(made["key"]) not in listed + shown
        reader.act(path, "end_keys", made["id"])
        assert ApiKey.objects.get(pk=made["id"]).ended_at is None
    with helper(web_url, "view_apikey", "change_apikey") as staff:
        other = make_user("other", is_staff=True)
        theirs = ApiKey.objects.create(user=other, name="k", digest=f"of {other.pk}", scopes=["ai"])
        staff.act(path, "end_keys", made["id"], theirs.pk)
        assert ApiKey.objects.get(pk=theirs.pk).ended_at is None
        event = AuditEvent.objects.get(user_id=alice.id, event="api_key_ended")
        assert (event.actor_id, event.details) == (staff.user.pk, {"api_key": made["id"], "reason": "ended_by_staff"})
    with using(alice, made) as api:
        assert_error(api.get("ai/models"), 401, "token_revoked", "The API key has ended")
