"""Every error route answers in the one error shape."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from conftest import Api, Person, ask, new_address
from edgechat.tests.calls import METHODS, api_routes
from edgechat.tests.published import OPENAI_PATH
from edgechat.tests.web_settings import SMALL, STRICT, WITHOUT_POSTGRESQL

JSON = {"Content-Type": "application/json"}
# Words from exceptions and source code.
LEAKS = re.compile(r"Traceback|Exception|Error\(|psycopg|pymongo|redis|django|\.py\b|line \d+", re.IGNORECASE)


# With a value for each parameter.
ROUTES = sorted(((re.sub(r"{\w+}", "none", path), view) for path, view in api_routes()), key=lambda route: route[0])
OPEN = (
    *("health", "openapi", "auth/register", "auth/login", "auth/refresh", "auth/signup", "auth/signin"),
    *("users/register", "users/login", "users/refresh", "users/logout", "auth/password/", "auth/email/verify"),
)
GET_PATHS = [path for path, view in ROUTES if hasattr(view, "get")]


@pytest.fixture(scope="module")
def alice(web_url: str) -> Iterator[Person]:
    """One user for the module: no test here depends on her data."""
    with closing(Person(web_url, "alice")) as person:
        yield person


def assert_error(answer: httpx2.Response, status: int, code: str, detail: str | None = None) -> dict[str, Any]:
    """The error's body, after a check of everything that all errors have in common."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json"), answer.headers["Content-Type"]
    body: dict[str, Any] = answer.json()
    if set(body) == {"error"}:
        assert answer.request.url.path.startswith(OPENAI_PATH)
        assert set(body["error"]) == {"message", "type", "param", "code"}
        request_id = answer.headers["X-Request-ID"]
        body = {"detail": body["error"]["message"], "code": body["error"]["code"], "request_id": request_id}
    assert set(body) == {"detail", "code", "request_id"} | ({"errors"} if status == 422 else set()), body
    assert body["code"] == code
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert detail is None or body["detail"] == detail
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert not LEAKS.search(answer.text), answer.text
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    return body


def fields_of(body: dict[str, Any]) -> list[str]:
    assert all(set(error) == {"field", "message"} for error in body["errors"])
    return list(dict.fromkeys(error["field"] for error in body["errors"]))


@pytest.mark.parametrize("path", ["auth/register", "auth/login", "auth/refresh", "chat/conversations", "ai/complete"])
def test_a_body_that_is_no_object_is_422_on_body(alice: Person, path: str) -> None:
    for content in (b"[]", b"[{}]", b'"text"', b"1", b"null", b"true"):
        answer = alice.post(path, content=content, headers=JSON)
        assert fields_of(assert_error(answer, 422, "validation_error", "Validation error")) == ["body"], content


@pytest.mark.parametrize(
    ("method", "path", "body", "fields"),
    [
        ("POST", "auth/register", {"email": "x", "password": "x"}, ["body.email", "body.password"]),
        ("POST", "auth/login", {}, ["body.email", "body.password"]),
        ("POST", "auth/refresh", None, ["body.refresh_token"]),
        ("PATCH", "users/me", {"full_name": []}, ["body.full_name"]),
        ("POST", "chat/conversations", {"title": {}}, ["body.title"]),
        ("POST", "chat/conversations/none/messages", {"content": ""}, ["body.content"]),
        ("PUT", "chat/conversations/none/messages/none/feedback", {"rating": "\ud800"}, ["body.rating"]),
        ("POST", "ai/complete", {"prompt": "\ud800"}, ["body.prompt"]),
        ("GET", "chat/conversations?limit=0&skip=-1", None, ["query.limit", "query.skip"]),
        ("GET", "chat/conversations?limit=1e999", None, ["query.limit"]),
        ("GET", "chat/conversations?limit=%00", None, ["query.limit"]),
        ("GET", "chat/conversations?archived=perhaps", None, ["query.archived"]),
        ("GET", "chat/conversations/none/messages?limit=101", None, ["query.limit"]),
        ("GET", "chat/conversations/none/export?format=%ff", None, ["query.format"]),
        ("GET", "chat/search?q=%00", None, ["query.q"]),
        ("GET", "chat/changes?since=x", None, ["query.since"]),
    ],
)
def test_faulty_fields_are_422(alice: Person, method: str, path: str, body: Any, fields: list[str]) -> None:
    content = None if body is None else json.dumps(body).encode()
    answer = alice.request(method, path, content=content, headers=JSON)
    assert fields_of(assert_error(answer, 422, "validation_error", "Validation error")) == fields


UNKNOWN = (
    *("", "nothing", "auth", "auth/login/x", "auth/me/more", "users/me/x", "%00", "%ff", "..", "Auth/Me", "auth/me//"),
    *("chat/conversations//", "auth/m%ff%00e", "auth%2Fme2"),
)


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_path_is_404_for_every_method(anonymous: Api, path: str) -> None:
    for method in (*METHODS, "options", "trace", "brew"):
        answer = anonymous.request(method.upper(), path, headers=new_address())
        assert_error(answer, 404, "not_found", "Not found")


def test_an_unknown_path_outside_the_api_is_404(web_url: str) -> None:
    for path in ("/nothing", "/api", "/api/v2/health", "/api/v2/auth/me", "/wp-login.php", "/.env", "/static/none.js"):
        answer = ask("GET", web_url + path)
        assert_error(answer, 404, "not_found", "Not found")


@pytest.mark.parametrize("path", [path for path, _ in ROUTES])
def test_another_method_is_405_on_every_route(alice: Person, path: str) -> None:
    view = dict(ROUTES)[path]
    allowed = {method.upper() for method in METHODS if hasattr(view, method)} | {"OPTIONS"}
    if "GET" in allowed:
        allowed.add("HEAD")
    for method in (*METHODS, "trace", "brew"):
        if hasattr(view, method):
            continue
        for slash in ("", "/"):
            answer = alice.request(method.upper(), path + slash)
            assert_error(answer, 405, "method_not_allowed", "Method not allowed")
            assert set(answer.headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", [path for path, _ in ROUTES])
def test_options_tells_which_methods_a_path_takes(anonymous: Api, alice: Person, path: str) -> None:
    allowed = {method.upper() for method in METHODS if hasattr(dict(ROUTES)[path], method)} | {"OPTIONS"}
    for client in (anonymous, alice):
        for slash in ("", "/"):
            answer = client.request("OPTIONS", path + slash, headers={**new_address(), "Origin": "https://a.example"})
            assert (answer.status_code, answer.content) == (200, b"")
            assert set(answer.headers["Allow"].split(", ")) - {"HEAD"} == allowed
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


OUTSIDE = ["/", "/health", "/docs", "/redoc", "/favicon.ico", "/static/edgechat/icon.svg"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_options_and_other_methods_outside_the_api(web_url: str, path: str) -> None:
    answer = ask("OPTIONS", web_url + path)
    assert (answer.status_code, answer.content, answer.headers["Allow"]) == (200, b"", "GET, HEAD, OPTIONS")
    answer = ask("DELETE", web_url + path)
    assert_error(answer, 405, "method_not_allowed", "Method not allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


PROTECTED = [
    (path, method)
    for path, view in ROUTES
    if view is not None and not path.startswith(OPEN)
    for method in METHODS
    if hasattr(view, method)
]


@pytest.mark.parametrize(("path", "method"), PROTECTED)
def test_every_other_route_without_a_token_is_401(anonymous: Api, path: str, method: str) -> None:
    for slash in ("", "/"):
        answer = anonymous.request(method.upper(), path + slash, headers=new_address())
        assert_error(answer, 401, "not_authenticated", "Not authenticated")


def announce_body(web_url: str, path: str, length: int) -> httpx2.Response:
    """The answer to a POST whose body stops after its first byte."""
    connection = http.client.HTTPConnection(web_url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest("POST", path)
        for name, value in {**JSON, **new_address(), "Content-Length": str(length)}.items():
            connection.putheader(name, value)
        connection.endheaders(b"{")
        answer = connection.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name != "Transfer-Encoding"]
        return httpx2.Response(answer.status, headers=headers, content=answer.read())
    finally:
        connection.close()


def test_a_body_above_the_limit_is_413_before_it_is_sent(web_url: str) -> None:
    limit = 64 * 1024
    answer = announce_body(web_url, "/api/v1/auth/login", limit + 1)
    assert_error(answer, 413, "too_large", f"The body may have {limit} bytes at most")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/v1/health/", 405, "method_not_allowed"),
        ("/api/v1/ai/summarize", 401, "not_authenticated"),
        ("/api/v1/chat/attachments", 401, "not_authenticated"),
    ],
)
def test_a_body_that_nobody_takes_is_answered_before_it_is_sent(
    web_url: str, path: str, status: int, code: str
) -> None:
    answer = announce_body(web_url, path, 2**40)
    assert (answer.status_code, answer.json()["code"], answer.headers["Connection"]) == (status, code, "close")


def test_a_small_limit_holds_for_chunked_bodies_too(web_with: Callable[..., str]) -> None:
    detail = "The body may have 2048 bytes at most"
    with httpx2.Client(base_url=web_with(**STRICT), trust_env=False, headers=JSON) as client:
        path = "/api/v1/auth/login"
        for size in (2049, 100_000):
            whole = client.post(path, content=b"x" * size, headers=new_address())
            assert_error(whole, 413, "too_large", detail)
            parts = (b"x" * min(1000, size - sent) for sent in range(0, size, 1000))
            assert_error(client.post(path, content=parts, headers=new_address()), 413, "too_large", detail)
        exact = b'{"email": "ann@example.com", "password": "password"}'.ljust(2048)
        assert_error(client.post(path, content=exact, headers=new_address()), 401, "invalid_credentials")
        chunked = client.post(path, content=iter([exact[:1000], exact[1000:]]), headers=new_address())
        assert_error(chunked, 401, "invalid_credentials")
        assert_error(client.post(path, content=iter([b""]), headers=new_address()), 422, "validation_error")


def retry_after(answer: httpx2.Response) -> int:
    assert re.fullmatch(r"[1-9]\d*", answer.headers["Retry-After"])
    return int(answer.headers["Retry-After"])


def test_too_many_requests_of_an_address_are_429_but_health_answers(web_with: Callable[..., str]) -> None:
    with httpx2.Client(base_url=web_with(**STRICT), trust_env=False, headers=new_address()) as client:
        for path in ("/api/v1/auth/me", "/api/v1/auth/me/", "/nothing", "/nothing/", "/api/v1/nothing"):
            assert client.get(path).status_code in (401, 404)
        for path in ("/api/v1/auth/me", "/", "/nothing", "/api/v1/healthy", "/api/v1/openapi.json"):
            answer = client.get(path, headers={"Origin": "https://app.example.com"})
            assert_error(answer, 429, "rate_limited", "Too many requests")
            assert 500 < retry_after(answer) <= 600
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        for path in ("/api/v1/health", "/api/v1/health/", "/api/v1/health/ready", "/api/health", "/health"):
            for _ in range(3):
                assert client.get(path).status_code == 200
        assert client.get("/api/v1/auth/me", headers=new_address()).status_code == 401


def test_too_many_logins_of_an_address_are_429(web_with: Callable[..., str]) -> None:
    with httpx2.Client(base_url=f"{web_with(**SMALL)}/api/v1/", trust_env=False, headers=new_address()) as client:
        for path in ("auth/login", "auth/register", "auth/refresh", "auth/signup", "auth/signin", "users/login"):
            for slash in ("", "/", ""):
                assert_error(client.post(path + slash, json={}), 422, "validation_error")
            answer = client.post(path, json={})
            assert_error(answer, 429, "rate_limited", "Too many requests")
            assert 1 <= retry_after(answer) <= 3600
            assert_error(client.post(path, json={}, headers=new_address()), 422, "validation_error")
        assert_error(client.get("auth/me"), 401, "not_authenticated")


def test_without_postgresql_what_needs_it_is_503(alice: Person, web_with: Callable[..., str]) -> None:
    detail = "The service is temporarily unavailable, please try again"
    login = {"email": "ann@example.com", "password": "password"}
    with httpx2.Client(base_url=f"{web_with(**WITHOUT_POSTGRESQL)}/api/v1/", trust_env=False, timeout=30) as client:
        for method, path, body in (
            ("POST", "auth/login", login),
            ("POST", "auth/register", login),
            ("POST", "auth/refresh", {"refresh_token": alice.tokens["refresh_token"]}),
            ("GET", "auth/me", None),
        ):
            headers = {**new_address(), "Authorization": alice.headers["Authorization"]}
            answer = client.request(method, path, json=body, headers=headers)
            assert_error(answer, 503, "store_unavailable", detail)
            assert "secret" not in answer.text
        assert client.get("health").json() == {"status": "ok"}
        ready = client.get("health/ready")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "error")
        assert_error(client.get("nothing"), 404, "not_found")


def test_an_unknown_host_is_400(web_with: Callable[..., str]) -> None:
    url = web_with(**STRICT)
    for path in ("/api/v1/health", "/api/v1/auth/me", "/nothing"):
        for host in ("evil.example.com", "app.example.com.evil.com", "a b"):
            answer = ask("GET", url + path, headers={"Host": host})
            body = assert_error(answer, 400, "malformed_request")
            assert host not in body["detail"]
    answer = ask("GET", f"{url}/api/v1/health", headers={"Host": "app.example.com"})
    assert answer.status_code == 200


def steady(answer: httpx2.Response) -> Any:
    """The part of an answer that is the same for two equal requests; a page may contain its own path."""
    if not answer.headers["Content-Type"].startswith("application/json"):
        return answer.headers["Content-Type"]
    body = answer.json()
    if isinstance(body, list):
        return body
    return {name: value for name, value in body.items() if name not in ("request_id", "timestamp")}


@pytest.mark.parametrize("path", [*GET_PATHS, "../../", "../health", "../../health", "../../docs", "../../redoc"])
def test_both_slash_forms_and_head_answer_alike(alice: Person, path: str) -> None:
    plain = alice.get(path.rstrip("/"))
    slashed = alice.get(path.rstrip("/") + "/")
    assert plain.status_code == slashed.status_code
    assert plain.status_code in (200, 403, 404, 422)
    if not path.startswith("usage/"):  # usage figures count these requests
        assert steady(plain) == steady(slashed)
    head_only = alice.head(path)
    assert (head_only.status_code, head_only.content) == (plain.status_code, b"")
    assert head_only.headers["X-Request-ID"]


def test_errors_have_cors_headers(anonymous: Api) -> None:
    for path in ("auth/me", "nothing"):
        answer = anonymous.get(path, headers={"Origin": "https://app.example.com"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"].lower()
