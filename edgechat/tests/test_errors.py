"""Every error route, in the one shape."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx2
import pytest

from conftest import Api, Person, assert_error, new_address

JSON = {"Content-Type": "application/json"}
LIMIT = 64 * 1024  # for callers without a token
TOO_LARGE = f"The body may have {LIMIT} bytes at most"
NO_TYPE = "Unsupported media type; accepted: application/json"


@pytest.fixture(scope="module")
def alice(web_url: str) -> Iterator[Person]:
    """One user for the module: no test here depends on her data."""
    with closing(Person(web_url, "alice")) as person:
        yield person


MALFORMED = [
    b"{",
    b'{"email": "ann@exa',
    b"nonsense",
    b"{'email': 'a@example.com'}",
    b'{"email": NaN}',
    b'{"email": Infinity}',
    b'{"email": -Infinity}',
    b'{"email": 1e999}',
    b'{"email": "\xff"}',
    b'{"email": "\xff\xfe"}',
    b'\xef\xbb\xbf{"email": ',
    b'\xef\xbb\xbf\xef\xbb\xbf{"email": "a@example.com"}',
    b'{"email": "a@example.com"}\xef\xbb\xbf',
    b"\xef\xbb\xbf",
    '{"email": "a@example.com"}'.encode("utf-16"),
    b'{"email": "a@example.com"} {}',
    b"{} {}",
    b'{"email": "line\nbreak"}',
    b"[" * 60_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"[" * 5_000 + b"]" * 5_000,
    b"[" * 30_000 + b"]" * 30_000,
    b"1" * 5_000,
    b'{"email": ' + b"9" * 10_000 + b"}",
    b"\0",
    b" ",
]


@pytest.mark.parametrize("path", ["auth/login", "chat/conversations"])
def test_a_body_that_is_not_json_is_400(alice: Person, anonymous: Api, path: str) -> None:
    client = anonymous if path == "auth/login" else alice
    for body in MALFORMED:
        answer = client.post(path, content=body, headers={**JSON, **new_address()})
        assert_error(answer, 400, "malformed_json", "Malformed JSON")
        assert alice.get("auth/me").status_code == 200, body[:50]


@pytest.mark.parametrize(
    "body", ['{"title": "Ferry"}', '{"title": "F\u00e4hre \ufeff"}', '\n {"title": "\u6e21\u8239"}']
)
def test_json_behind_a_byte_order_mark_is_json(alice: Person, body: str) -> None:
    answer = alice.post("todos", content=b"\xef\xbb\xbf" + body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["title"]) == (200, json.loads(body)["title"].strip())


@pytest.mark.parametrize("coding", ["gzip", "br", "x-gzip", "identity, gzip", "GZIP", "zstd", "aes128gcm"])
def test_a_body_in_a_content_coding_is_415_and_told_what_is_accepted(alice: Person, coding: str) -> None:
    for path, content_type in (("todos", "application/json"), ("chat/attachments", "multipart/form-data; boundary=b")):
        body = gzip.compress(b'{"title": "Ferry"}')
        answer = alice.post(path, content=body, headers={"Content-Type": content_type, "Content-Encoding": coding})
        accepted = content_type.partition(";")[0]
        detail = f"Unsupported content encoding; accepted: {accepted}, not compressed (identity)"
        assert_error(answer, 415, "unsupported_type", detail)
        assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "", "Identity", "identity , identity"])
def test_a_body_that_is_said_not_to_be_encoded_is_read(alice: Person, coding: str) -> None:
    answer = alice.post("todos", content=b'{"title": "Ferry"}', headers={**JSON, "Content-Encoding": coding})
    assert (answer.status_code, answer.json()["title"]) == (200, "Ferry")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"17", b"true"])
def test_json_that_is_not_an_object_is_422_on_body(anonymous: Api, body: bytes) -> None:
    answer = anonymous.post("auth/login", content=body, headers=JSON)
    kind = type(json.loads(body)).__name__
    message = f"Invalid data. Expected a dictionary, but got {kind}."
    assert_error(answer, 422, "validation_error", "Validation error", errors=[{"field": "body", "message": message}])


def test_null_as_the_body_is_422_on_body(anonymous: Api) -> None:
    answer = anonymous.post("auth/login", content=b"null", headers=JSON)
    errors = [{"field": "body", "message": "No data provided"}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_each_missing_field_is_named_in_one_422(anonymous: Api) -> None:
    errors = [{"field": f"body.{name}", "message": "This field is required."} for name in ("email", "password")]
    for content in (b"", b"{}"):
        answer = anonymous.post("auth/register", content=content, headers=JSON)
        assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", ["query.limit"]),
        ("limit=101", ["query.limit"]),
        ("limit=ten", ["query.limit"]),
        ("limit=1e1", ["query.limit"]),
        ("limit=" + "9" * 1001, ["query.limit"]),
        ("limit=%00", ["query.limit"]),
        ("limit=%ff", ["query.limit"]),
        ("skip=-1", ["query.skip"]),
        ("skip=x&limit=x&archived=x", ["query.archived", "query.limit", "query.skip"]),
        ("cursor=x", ["query.cursor"]),
        ("cursor=-1", ["query.cursor"]),
        ("cursor=" + "9" * 19, ["query.cursor"]),
        ("skip=1&cursor=1", ["query.cursor"]),
    ],
)
def test_a_wrong_query_is_422_with_its_fields(alice: Person, query: str, fields: list[str]) -> None:
    answer = alice.get(f"chat/conversations?{query}")
    errors = answer.json().get("errors", [])
    assert sorted(error["field"] for error in errors) == fields
    assert all(set(error) == {"field", "message"} and error["message"] for error in errors)
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


OTHER_TYPES = (
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/jsonp",
    "json",
    "application/json/x",
)


@pytest.mark.parametrize("path", ["auth/login", "chat/conversations", "chat/conversations/"])
def test_another_type_of_body_is_415(alice: Person, path: str) -> None:
    for content_type in OTHER_TYPES:
        headers = {} if content_type is None else {"Content-Type": content_type}
        answer = alice.post(path, content=b'{"title": "x"}', headers=headers)
        assert_error(answer, 415, "unsupported_type", NO_TYPE)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "Application/JSON",
        "application/json;x=y",
        "application/json;",
    ],
)
def test_json_is_known_whatever_the_parameters_of_its_type(alice: Person, content_type: str) -> None:
    answer = alice.post("chat/conversations", content=b"{}", headers={"Content-Type": content_type})
    assert answer.status_code == 201
    assert alice.post("auth/login", content=b"{}", headers={"Content-Type": content_type}).status_code == 422


def test_a_body_above_the_limit_is_413(anonymous: Api) -> None:
    answer = anonymous.post("auth/login", content=b" " * (LIMIT + 1), headers=JSON)
    assert_error(answer, 413, "too_large", TOO_LARGE)


def chunks(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield b" " * 65536


def test_a_chunked_body_above_the_limit_is_413(anonymous: Api) -> None:
    answer = anonymous.post("auth/login", content=chunks(LIMIT // 65536 + 1), headers=JSON)
    assert_error(answer, 413, "too_large", TOO_LARGE)


def test_a_chunked_body_is_read_like_any_other(anonymous: Api) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"email": "nobody@exa'
        yield b'mple.com", "password": "wrong"}'

    answer = anonymous.post("auth/login", content=body(), headers=JSON)
    assert_error(answer, 401, "invalid_credentials", "Invalid email or password")


def test_a_body_of_exactly_the_limit_is_read(anonymous: Api) -> None:
    answer = anonymous.post("auth/login", content=b"{}".ljust(LIMIT), headers=JSON)
    assert answer.status_code == 422


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "text/event-stream", "nonsense", "*/*;q=0"])
def test_errors_are_json_whatever_the_client_accepts(anonymous: Api, accept: str) -> None:
    for path in ("auth/me", "nothing"):
        answer = anonymous.get(path, headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"
        assert set(answer.json()) == {"detail", "code", "request_id"}


@pytest.mark.parametrize("query", ["format=xml", "format=api", "_method=DELETE"])
def test_no_query_parameter_changes_the_format(alice: Person, query: str) -> None:
    assert alice.get(f"auth/me?{query}").json() == {"id": alice.id, "email": alice.email}


MALFORMED_IDS = (
    *("1", "0" * 23, "0" * 25, "G" * 24, "A" * 24, "0" * 24 + "%0A", "%00", "%ff", "'", "{}", "null"),
    str(uuid.UUID(int=5)),
)


@pytest.mark.parametrize("route", ["chat/conversations/{}", "chat/conversations/{}/messages"])
def test_absent_foreign_and_malformed_ids_are_answered_alike(alice: Person, bob: Person, route: str) -> None:
    for conversation_id in (*MALFORMED_IDS, "0" * 24, alice.new_conversation()):
        assert_error(bob.get(route.format(conversation_id)), 404, "not_found", "Conversation not found")


# Sent to every call that takes a body. Each must be answered with a 4xx in the one shape.
STRANGE_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    "",
    " ",
    "\x00",
    "\ud800",
    "\U0001f600" * 50_000,
    [],
    {},
    [[]],
    {"\ud800": "\x00"},
    {"$gt": ""},
]
BODY_CALLS = {
    "auth/register": ("email", "password", "full_name", "device_name"),
    "auth/login": ("email", "password", "device_name"),
    "auth/refresh": ("refresh_token",),
    "auth/signup": ("email", "password", "full_name"),
    "auth/signin": ("email", "password"),
    "users/register": ("email", "password"),
    "users/login": ("email", "password"),
    "users/me": ("full_name", "password", "current_password"),
    "chat/conversations": ("title", "system_instruction", "organization_id", "temporary"),
    "chat/conversations/{}/messages": ("content", "client_message_id"),
    "ai/complete": ("prompt", "system_instruction", "response_schema"),
    "ai/summarize": ("style", "max_words", "language"),
}
VALID = {
    "email": "a@example.com",
    "password": "long enough",
    "refresh_token": "x",
    "content": "c",
    "prompt": "p",
    "text": "t",
}


@pytest.mark.parametrize(("route", "field"), [(route, field) for route, names in BODY_CALLS.items() for field in names])
def test_no_value_of_a_field_is_a_fault_of_ours(alice: Person, route: str, field: str) -> None:
    path = route.format(alice.new_conversation()) if "{}" in route else route
    fields = BODY_CALLS[route]

    def send(value: Any) -> httpx2.Response:
        # A summary needs a text, and null is no text. The other calls ignore the field.
        body = {name: text for name, text in VALID.items() if name in (*fields, "text")} | {field: value}
        if "email" in fields and field != "email":
            body["email"] = f"{uuid.uuid4().hex}@example.com"
        return alice.request(
            "PATCH" if route == "users/me" else "POST", path, content=json.dumps(body).encode(), headers=JSON
        )

    # Several at the same time, because a refused login takes its time; messages one after the other.
    with ThreadPoolExecutor(1 if "{}" in route or route == "users/me" else 5) as pool:
        answers = list(pool.map(send, STRANGE_VALUES))
    for value, answer in zip(STRANGE_VALUES, answers, strict=True):
        assert answer.status_code in (200, 201, 400, 401, 403, 404, 413, 422), (value, answer.text)
        if answer.status_code == 422:
            errors = answer.json()["errors"]
            assert {error["field"].split(".")[1] for error in errors} == {field}
            assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_too_many_query_parameters_are_400(alice: Person) -> None:
    answer = alice.get("chat/conversations?" + "&" * 1001)
    assert_error(answer, 400, "malformed_request", "Malformed request")


@pytest.mark.parametrize("name", ["Cookie", "Accept-Language", "Referer", "User-Agent", "Idempotency-Key", "Origin"])
def test_no_header_is_a_fault_of_ours(register: Callable[..., Person], name: str) -> None:
    alice = register("alice")
    conversation = alice.new_conversation()
    for value in (b"\xff\xfe", b"a" * 4000, b"[", b"http://[", b"\xf0\x9f\x98\x80", b";;==,,"):
        answer = alice.post(
            f"chat/conversations/{conversation}/messages", json={"content": "hello"}, headers={name.encode(): value}
        )
        assert answer.status_code in (200, 409, 422), answer.text
        login = alice.post(
            "auth/login", json={"email": alice.email, "password": alice.password}, headers={name.encode(): value}
        )
        assert login.status_code == 200
