"""JSON bodies are bounded before they are parsed, and no answer repeats much of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework import serializers

from conftest import Api, Person, assert_error
from edgechat.errors import Invalid
from edgechat.http.validation import validated_query

KIB = 1024
JSON = {"Content-Type": "application/json"}


def padded(body: dict[str, Any], size: int) -> bytes:
    """The body as JSON, padded to that many bytes."""
    return json.dumps(body).encode().ljust(size)


def too_large(limit: int) -> tuple[int, str, str]:
    return 413, "too_large", f"The body may have {limit} bytes at most"


def test_a_call_takes_256_kib_and_a_summary_4_mib(alice: Person) -> None:
    conversation = {"title": "Talk"}
    answer = alice.post("chat/conversations", content=padded(conversation, 256 * KIB), headers=JSON)
    assert answer.status_code == 201
    answer = alice.post("chat/conversations", content=padded(conversation, 256 * KIB + 1), headers=JSON)
    assert_error(answer, *too_large(256 * KIB))
    nothing = {"text": "hello", "max_words": 1}
    answer = alice.post("ai/summarize", content=padded(nothing, 4096 * KIB), headers=JSON)
    assert [error["field"] for error in answer.json()["errors"]] == ["body.max_words"]
    answer = alice.post("ai/summarize", content=padded(nothing, 4096 * KIB + 1), headers=JSON)
    assert_error(answer, *too_large(4096 * KIB))


@pytest.mark.parametrize("path", ["auth/login", "auth/register", "auth/refresh", "auth/password/forgot"])
def test_a_caller_without_a_token_sends_64_kib_at_most(anonymous: Api, path: str) -> None:
    assert anonymous.post(path, content=padded({}, 64 * KIB), headers=JSON).status_code == 422
    assert_error(anonymous.post(path, content=padded({}, 64 * KIB + 1), headers=JSON), *too_large(64 * KIB))


MANY_VALUES = {
    "objects": b"[" + b"{}," * 10_000 + b"{}]",
    "numbers": b'{"n": [' + b"1," * 20_000 + b"1]}",
    "fields": b"{" + b",".join(b'"f%d":1' % number for number in range(11_000)) + b"}",
    "strings": b'["' + b'","' * 15_000 + b'"]',
    "escapes": b'["\\\\", "\\"' + b'", "' * 11_000 + b'"]',
}


@pytest.mark.parametrize("content", MANY_VALUES.values(), ids=MANY_VALUES.keys())
def test_more_than_ten_thousand_values_are_422(alice: Person, content: bytes) -> None:
    errors = [{"field": "body", "message": "May hold 10000 values at most."}]
    for path in ("chat/conversations", "ai/summarize", "todos"):
        answer = alice.post(path, content=content, headers=JSON)
        assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_what_only_looks_like_many_values_or_deep_nesting_is_text(alice: Person) -> None:
    text = '[{"a": ["\\", ' * 2400
    answer = alice.say(alice.new_conversation(), text)
    assert answer.status_code == 200, answer.text
    assert answer.json()["user_message"]["content"] == text


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"a":'])
def test_json_nested_more_than_64_deep_is_400(alice: Person, opened: str) -> None:
    closed = opened.translate(str.maketrans("[{", "]}", '"a:'))[::-1]
    times = 64 // len(closed)
    answer = alice.post("todos", content=opened * times + "1" + closed * times, headers=JSON)
    assert answer.status_code == 422
    answer = alice.post("todos", content=opened * (times + 1) + "1" + closed * (times + 1), headers=JSON)
    assert_error(answer, 400, "malformed_json", "Malformed JSON")


@pytest.mark.parametrize("number", ["%s", "-%s", "%s.5", "%se1"])
@pytest.mark.parametrize(("digits", "status"), [(307, 422), (310, 400)])
def test_a_number_that_is_too_large_for_most_readers_is_400(
    alice: Person, number: str, digits: int, status: int
) -> None:
    answer = alice.post("todos", content='{"n": %s}' % (number % ("9" * digits)), headers=JSON)
    assert answer.status_code == status


@pytest.mark.parametrize("entry", ["{}", "null", '"x"', "[]", "1e5"])
def test_a_long_list_is_one_fault_before_its_entries_are_looked_at(alice: Person, entry: str) -> None:
    content = '{"content": "hello", "attachment_ids": [' + ",".join([entry] * 4000) + "]}"
    answer = alice.post(f"chat/conversations/{alice.new_conversation()}/messages", content=content, headers=JSON)
    errors = [{"field": "body.attachment_ids", "message": "Ensure this field has no more than 5 elements."}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


LONG = "x\u00e9\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16") * 40_000


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "ai/summarize", {"text": "hello", "style": LONG}),
        ("POST", "ai/summarize", {"text": "hello", "style": [LONG]}),
        ("POST", "ai/summarize", {"url": LONG}),
        ("PUT", "chat/conversations/none/messages/none/feedback", {"rating": LONG}),
        ("PUT", "chat/conversations/none/messages/none/feedback", {"rating": "up", "comment": LONG}),
        ("POST", "ai/complete", {"prompt": "hello", "response_schema": {LONG: [LONG]}, "system_instruction": LONG}),
        ("POST", "chat/conversations", {"organization_id": LONG, "temporary": LONG, "title": LONG}),
        ("POST", "todos", {"title": LONG, "description": LONG}),
        ("PATCH", "users/me", {"full_name": LONG, "password": LONG, "current_password": LONG}),
        ("POST", "organizations", {"name": LONG}),
    ],
)
def test_no_fault_repeats_more_than_100_characters_of_a_body(
    alice: Person, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = alice.request(method, path, content=json.dumps(body, ensure_ascii=False).encode(), headers=JSON)
    assert answer.status_code in (413, 422), answer.text[:1000]
    assert all(len(error["message"]) <= 100 for error in answer.json().get("errors", []))
    assert len(answer.content) < 1000


def test_members_roles_are_refused_without_repeating_them(alice: Person) -> None:
    organization = alice.post("organizations", json={"name": "Team"}).json()["id"]
    answer = alice.post(f"organizations/{organization}/members", json={"email": "a@example.com", "role": "o" * 9000})
    message = '"' + "o" * 58 + "…" + "o" * 16 + '" is not a valid choice.'
    errors = [{"field": "body.role", "message": message}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.mark.parametrize(
    "path",
    [
        f"chat/conversations?limit={'9' * 3000}&archived={'x' * 900}",
        f"chat/conversations?cursor={'x' * 3000}",
        f"chat/search?q=a&cursor={'x' * 3000}",
        f"chat/search?q={'x' * 3000}",
        f"chat/conversations/none/export?format={'x' * 3000}",
        f"chat/attachments/none?size={'x' * 3000}",
        f"todos/{'9' * 3000}",
        f"chat/conversations/{'x' * 3000}",
        f"chat/{'x' * 3000}",
        f"usage/me/daily?days={'x' * 3000}",
    ],
)
def test_no_fault_repeats_a_long_path_or_query(alice: Person, path: str) -> None:
    answer = alice.get(path, headers={"Idempotency-Key": "k" * 5000, "X-Request-ID": "i" * 5000})
    assert answer.status_code in (404, 422)
    assert len(answer.content) < 1000


class _Choices(serializers.Serializer[Any]):
    """A query with many faulty fields."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {f"field{number}": serializers.IntegerField() for number in range(50)}


def test_the_first_twenty_faults_are_told() -> None:
    class Request:
        query_params: dict[str, str] = {}

    with pytest.raises(Invalid) as raised:
        validated_query(_Choices, Request())  # type: ignore[arg-type]
    assert [error["field"] for error in raised.value.errors or []] == [f"query.field{number}" for number in range(20)]
