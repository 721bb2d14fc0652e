"""What holds for every route of the URLconf: both slash forms, other methods, and a place in the OpenAPI file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

from conftest import Api, Person, assert_error

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Not REST: pages for people, and the file that describes the rest.
PAGES = ("docs", "redoc", "api/v1/openapi.json", "metrics", "playground")
# Calls that change something and take no body.
WITHOUT_BODY = re.compile(r"/(stop|logout|logout-all|resend|action-items)$")


def routes(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Each REST route, as `/api/v1/chat/conversations/{conversation_id}`, with the methods that it has."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        text = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if not text.startswith("admin/"):
                yield from routes(pattern.url_patterns, text)
        elif isinstance(pattern, URLPattern) and not text.startswith(PAGES):
            view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", text)
            yield f"/{path}", frozenset(method for method in METHODS if hasattr(view, method.lower()))


ROUTES = sorted(routes())
OPEN = re.compile(r"/|.*health.*|/api/v1/auth/(register|login|refresh|password/forgot|password/reset|email/verify)")
PROTECTED = [(path, methods) for path, methods in ROUTES if not OPEN.fullmatch(path)]


def filled(path: str) -> str:
    """The path with ids of the right form that nothing has."""
    return re.sub(r"\{\w+\}", "0" * 24, path)


@pytest.mark.parametrize(("path", "methods"), ROUTES, ids=[path for path, _ in ROUTES])
def test_every_route_answers_with_and_without_a_slash(anonymous: Api, path: str, methods: frozenset[str]) -> None:
    assert methods
    for method in methods:
        plain = anonymous.request(method, anonymous.origin + filled(path))
        slashed = anonymous.request(method, anonymous.origin + filled(path) + "/")
        assert plain.status_code == slashed.status_code
        assert plain.status_code in (200, 401, 422)
        assert plain.json().keys() == slashed.json().keys()
        assert plain.json().get("errors") == slashed.json().get("errors")


@pytest.mark.parametrize(("path", "methods"), ROUTES, ids=[path for path, _ in ROUTES])
def test_every_route_answers_405_to_other_methods(alice: Person, path: str, methods: frozenset[str]) -> None:
    for method in sorted({*METHODS, "OPTIONS", "TRACE"} - methods):
        for slash in ("", "/"):
            answer = alice.request(method, alice.origin + filled(path) + slash)
            assert_error(answer, 405, "method_not_allowed", "Method not allowed")
            assert methods <= {allowed.strip() for allowed in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize(("path", "methods"), PROTECTED, ids=[path for path, _ in PROTECTED])
def test_every_route_that_needs_a_token_is_401_without_one(anonymous: Api, path: str, methods: frozenset[str]) -> None:
    for method in methods:
        answer = anonymous.request(method, anonymous.origin + filled(path))
        assert_error(answer, 401, "not_authenticated", "Not authenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """The file as the generator makes it, which fails on a warning and on a file that is not valid OpenAPI 3."""
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    schema: dict[str, Any] = json.loads(out.getvalue())
    return schema


def test_the_openapi_file_is_served_as_json(anonymous: Api, openapi: dict[str, Any]) -> None:
    for slash in ("", "/"):
        answer = anonymous.get("openapi.json" + slash)
        assert answer.status_code == 200
        assert "json" in answer.headers["Content-Type"]
        assert answer.json() == openapi


def test_a_wrong_method_on_the_openapi_file_has_the_error_shape(anonymous: Api) -> None:
    answer = anonymous.post("openapi.json")
    request_id = answer.headers["X-Request-ID"]
    assert (answer.status_code, answer.json()) == (
        405,
        {"detail": "Method not allowed", "code": "method_not_allowed", "request_id": request_id},
    )


@pytest.mark.parametrize(("path", "methods"), ROUTES, ids=[path for path, _ in ROUTES])
def test_every_route_is_described(openapi: dict[str, Any], path: str, methods: frozenset[str]) -> None:
    operations = openapi["paths"][path]
    assert {name.upper() for name in operations} == methods
    for method, operation in operations.items():
        assert operation["operationId"]
        assert operation["description"]
        successes = {status: answer for status, answer in operation["responses"].items() if status < "300"}
        assert successes
        for status, answer in successes.items():
            assert status == "204" or all("schema" in media for media in answer["content"].values())
        if method in ("post", "put", "patch") and not WITHOUT_BODY.search(path):
            assert all("schema" in media for media in operation["requestBody"]["content"].values())
        for status in (status for status in operation["responses"] if status >= "400" and "health" not in path):
            media = operation["responses"][status]["content"]["application/json"]
            assert media["schema"] == {"$ref": "#/components/schemas/Error"}


def test_the_file_describes_nothing_that_is_not_there(openapi: dict[str, Any]) -> None:
    assert sorted(openapi["paths"]) == [path for path, _ in ROUTES]


@pytest.mark.parametrize("page", ["docs", "docs/", "redoc", "redoc/"])
def test_the_documentation_pages_load_nothing_from_elsewhere(anonymous: Api, page: str) -> None:
    answer = anonymous.get(f"{anonymous.origin}/{page}")
    assert answer.status_code == 200
    assets = re.findall(r"""(?:src|href)=["']([^"']+)""", answer.text)
    assert assets
    assert [asset for asset in assets if re.match(r"(https?:)?//", asset)] == []
    for asset in assets:
        if asset.startswith("/static/"):
            assert anonymous.get(anonymous.origin + asset).status_code == 200
