"""What must hold for every call: its errors are published, its limits are set, its ids are checked."""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from rest_framework.permissions import AllowAny

from accounts.open_calls.slots import TooManyReplies
from accounts.tests.organizations import invited, new_organization
from conftest import Person
from conversations.tests.exports import send_import
from conversations.tests.test_attachments import picture, upload
from conversations.tests.test_strangers import calls_with
from conversations.tests.test_todos import new_todo
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.uploads import UploadParser
from edgechat.tests.calls import calls
from edgechat.tests.published import document
from edgechat.tests.raised_errors import APPS, errors_of

PROJECT = Path(__file__).parents[2]
CALLS = [(method, path, view) for method, path, view in calls() if path != "openapi.json"]
# Of `open_call`: only event streams, and replies that end with their call, take a slot.
NEVER_RAISED = {
    ("GET", "users/me/export"): TooManyReplies,
    ("GET", "chat/conversations/{conversation_id}/export"): TooManyReplies,
    ("GET", "chat/attachments/{attachment_id}"): TooManyReplies,
    ("POST", "chat/conversations/{conversation_id}/messages/{mid}/stop"): TooManyReplies,
}
# A valid body for every call with an id, so that only the id can be refused.
BODY = {"role": "member", "email": "new@example.com", "name": "Mine now", "is_active": False}
QUERIES = {"chat/search": {"q": "ferry"}}
STAFF_ONLY = {"users"}


def test_every_error_that_a_call_raises_is_published() -> None:
    unpublished = []
    for method, path, view in CALLS:
        responses = document()["paths"][f"/api/v1/{path}"][method.lower()]["responses"]
        codes = {(int(status), code) for status, answer in responses.items() for code in answer.get("x-codes", {})}
        if path.startswith("openai/"):
            codes |= {(422, code) for status, code in codes if status == 400}
        raised = errors_of(getattr(view, method.lower())) - {NEVER_RAISED.get((method, path))}
        unpublished += [(method, path, error) for error in raised if (error.status, error.code) not in codes]
    assert unpublished == [], "for @raises"


def test_every_call_without_a_token_and_every_upload_has_a_strict_rate_limit() -> None:
    open_views = {view for _, path, view in CALLS if AllowAny in view.permission_classes and "health" not in path}
    uploads = {view for *_, view in CALLS if any(issubclass(parser, UploadParser) for parser in view.parser_classes)}
    assert len(open_views) > 10
    assert len(uploads) > 1
    assert [view for view in open_views | uploads if AuthRateThrottle not in view.throttle_classes] == []


def test_every_module_of_views_is_in_the_rules_of_imports() -> None:
    rules = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    lists = [rule.get("protected_modules", []) + rule.get("source_modules", []) for rule in rules]
    listed = [modules for modules in lists if "**.views" in modules]
    assert len(listed) == 2
    modules = {view.__module__ for _, _, view in CALLS if not view.__module__.endswith(".views")}
    for names in listed:
        assert modules - set(names) == set()


def test_every_call_is_in_the_changelog() -> None:
    """By the last word of its path."""
    changelog = (PROJECT / "CHANGELOG.md").read_text().lower()
    words = {re.sub(r"/?\{\w+\}", "", path).rpartition("/")[2] for _, path, _ in CALLS}
    assert [word for word in words if not re.search(word.removesuffix("s").replace("-", "[ -]"), changelog)] == []


def test_every_call_that_writes_is_made_in_a_test() -> None:
    """By its method and its path, in one module. `test_every_read_is_answered_as_published` makes the others."""
    paths = {path for app in APPS for path in (PROJECT / app).rglob("tests/*.py")} - {Path(__file__)}
    tests = [path.read_text() for path in paths]
    for method, path, _ in CALLS:
        written = re.compile(re.sub(r"\\{\w+\\}", '[^"/]+', re.escape(path)) + r'[/?]?["\']')
        made = re.compile(rf'\.{method.lower()}\(|"{method}"')
        assert method == "GET" or any(written.search(test) and made.search(test) for test in tests), (method, path)


@pytest.fixture
def ids(alice: Person, register: Callable[..., Person]) -> dict[str, str]:
    """One of alice's objects for each parameter in the path of a call."""
    organization, member = new_organization(owner=alice), register("member")
    conversation = alice.new_conversation(title="Talk", organization_id=organization.pk)
    sent = alice.say(conversation, "When does the ferry go?").json()
    return {
        "conversation_id": conversation,
        "mid": sent["model_message"]["id"],
        "todo_id": str(new_todo(alice)["id"]),
        "attachment_id": upload(alice, picture()).json()["id"],
        "session_id": alice.get("auth/sessions").json()["sessions"][0]["id"],
        "import_id": send_import(alice, []).json()["id"],
        "key_id": alice.post("auth/api-keys", json={"name": "script"}).json()["id"],
        "model_id": settings.GEMINI_MODEL,
        "user_id": str(alice.id),
        "organization_id": str(organization.pk),
        "invitation_id": invited(alice, organization, member.email),
    }


def test_every_read_is_answered_as_published(alice: Person, ids: dict[str, str]) -> None:
    """The client validates each answer against the OpenAPI file."""
    for method, path, _ in CALLS:
        if method == "GET":
            answer = alice.get(path.format(**ids), params=QUERIES.get(path))
            assert answer.status_code == (403 if path in STAFF_ONLY else 200), (path, answer.text)


def test_every_id_of_another_user_is_answered_as_an_absent_one(alice: Person, bob: Person, ids: dict[str, str]) -> None:
    """Here for the apps that `conversations.tests.test_strangers` does not test."""
    absent = {
        **dict.fromkeys(("session_id", "key_id", "import_id"), str(uuid.uuid4())),
        **dict.fromkeys(("user_id", "organization_id", "invitation_id"), "2147483647"),
    }
    tested_there = calls_with("conversation_id", "todo_id", "attachment_id")
    for method, path, _ in CALLS:
        if "{" not in path or (method, path) in tested_there or "{model_id}" in path:
            continue
        body = None if method == "GET" else BODY
        foreign, none = (bob.request(method, path.format(**tried), json=body) for tried in (ids, absent))
        assert foreign.status_code == 404, (method, path, foreign.text)
        assert foreign.json() | {"request_id": ""} == none.json() | {"request_id": ""}, (method, path)
    assert alice.get(f"organizations/{ids['organization_id']}/members").json()["members"][1:]
    assert alice.get("auth/me").status_code == 200
