"""GET /api/v1/openapi.json: complete, valid, and created without warnings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from conftest import Api, ask
from edgechat.http.api_view import APIView
from edgechat.openapi import built_file
from edgechat.tests.calls import METHODS, api_routes
from edgechat.tests.published import ERROR, OPENAI_ERROR, OPENAI_PATH, check_json, checked_stream, events_of
from edgechat.tests.web_settings import ELSEWHERE

PROJECT = Path(__file__).parents[2]

WITH_MAIL = ("auth/password/forgot", "auth/password/reset", "auth/email/verify")
OPEN = (
    *("auth/register", "auth/login", "auth/refresh", "auth/signup", "auth/signin"),
    *("users/register", "users/login", "users/refresh", "users/logout"),
    *WITH_MAIL,
)
NEVER_401 = ("auth/register", "auth/signup", "users/register", "users/logout", *WITH_MAIL)


@pytest.fixture(scope="module")
def document(web_url: str) -> dict[str, Any]:
    answer = ask("GET", f"{web_url}/api/v1/openapi.json")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_document_is_valid_openapi_3(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    validate_schema(document)  # type: ignore[no-untyped-call]


def test_making_it_warns_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    GENERATOR_STATS.reset()
    call_command("spectacular", fail_on_warn=True, validate=True)
    assert "arning" not in capsys.readouterr().err


def test_every_route_and_method_is_in_it(document: dict[str, Any]) -> None:
    told = {(re.sub(r"{[^}]+}", "none", path), method) for path, method, _ in operations(document)}
    served = {
        (re.sub(r"{\w+}", "none", f"/api/v1/{path}"), method)
        for path, view in api_routes()
        for method in METHODS
        if hasattr(view, method) and path != "openapi.json"
    }
    assert served <= told
    assert {entry for entry in told if entry[0].startswith("/api/v1/")} <= served


def test_every_operation_says_what_it_does_and_answers(document: dict[str, Any]) -> None:
    ids = []
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        ids.append(operation["operationId"])
        assert operation["description"], where
        assert operation["tags"], where
        assert any(status.startswith("2") for status in operation["responses"]), where
        for status, response in operation["responses"].items():
            assert status in ("204", "304") or response["content"], f"{where} {status}"
    assert len(ids) == len(set(ids))


def test_every_operation_has_the_errors_that_it_can_answer(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where, responses = f"{method} {path}", operation["responses"]
        expected = {"500"}
        if "health" not in path:
            expected |= {"429", "503"} if path != "/" else {"429"}
        if path.startswith("/api/v1/") and "health" not in path and not path.endswith(NEVER_401):
            expected.add("401")
        if "requestBody" in operation:
            expected |= {"400", "413", "415", "422"}
        if "{" in path:
            expected.add("404")
        if path.startswith(OPENAI_PATH):
            expected.discard("422")
        assert expected <= set(responses), where
        for status in expected - ({"503"} if "health" in path else set()):
            schema = responses[status]["content"]["application/json"]["schema"]
            assert schema == (OPENAI_ERROR if path.startswith(OPENAI_PATH) else ERROR), f"{where} {status}"


def test_only_what_needs_no_token_has_no_security(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        needs_none = not path.startswith("/api/v1/") or "health" in path or path.endswith(OPEN)
        security = operation.get("security", [])
        assert ({"accessToken": []} in security) != needs_none, f"{method} {path}"
        assert {} not in security or needs_none, f"{method} {path}"


def test_the_error_s_shape_is_written_down(document: dict[str, Any]) -> None:
    error = document["components"]["schemas"]["Error"]
    assert error["required"] == ["detail", "code", "request_id"]
    assert set(error["properties"]) == {"detail", "code", "request_id", "errors", "context"}


@pytest.mark.parametrize("query", ["", "?format=yaml", "?version=2", "?lang=de", "?lang=%00"])
def test_the_document_is_json_whatever_is_asked(web_url: str, query: str) -> None:
    url = f"{web_url}/api/v1/openapi.json{query}"
    answer = ask("GET", url, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "json" in answer.headers["Content-Type"]
    assert answer.json()["info"]["title"] == "EdgeChat Backend"


@pytest.mark.parametrize(("accepted", "coding"), [("br, gzip", "br"), ("gzip, br;q=0", "gzip"), ("", None)])
def test_the_file_is_compressed_and_sent_only_once(web_url: str, accepted: str, coding: str | None) -> None:
    url, headers = f"{web_url}/api/v1/openapi.json", {"Accept-Encoding": accepted}
    answer = ask("GET", url, headers=headers)
    assert answer.headers.get("Content-Encoding") == coding
    assert "accept-encoding" in answer.headers["Vary"].lower()
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.json()["openapi"].startswith("3.")
    if coding is not None:
        assert int(answer.headers["Content-Length"]) < len(answer.content) / 10
    etag = answer.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}', "*"):
        again = ask("GET", url, headers={**headers, "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert ask("GET", url, headers={**headers, "If-None-Match": '"another"'}).status_code == 200
    assert ask("HEAD", url, headers=headers).headers["ETag"] == etag


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_a_page_loads_the_file_at_an_address_that_changes_with_it(web_url: str, page: str) -> None:
    [address] = re.findall(r"/docs/openapi\.[0-9a-f]{16}\.json", ask("GET", f"{web_url}/{page}").text)[:1]
    answer = ask("GET", web_url + address)
    assert answer.content == ask("GET", f"{web_url}/api/v1/openapi.json").content
    assert "immutable" in answer.headers["Cache-Control"]
    assert ask("GET", f"{web_url}/docs/openapi.0123456789abcdef.json").json()["code"] == "not_found"


def test_no_process_that_serves_can_make_the_file() -> None:
    """Making it takes half a second of CPU time, and imports Django's test client."""
    command = "import sys, edgechat.wsgi; print({'drf_spectacular.generators', 'django.test'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_a_server_never_serves_the_file_of_another_version(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = data_dir / "usage" / "views.py"
    source.parent.mkdir()
    monkeypatch.setattr(settings, "BASE_DIR", data_dir)

    def name(code: str, **changed: str) -> str:
        source.write_text(code)
        monkeypatch.setattr(settings, "SPECTACULAR_SETTINGS", settings.SPECTACULAR_SETTINGS | changed)
        return built_file.built_path(data_dir).name

    assert name("one = 1") == name("one = 1")
    assert len({name("one = 1"), name("one = 2"), name("one = 2", TITLE="Another name")}) == 3


def test_a_server_with_settings_of_its_own_makes_a_file_of_its_own(web_with: Callable[..., str]) -> None:
    answer = ask("GET", f"{web_with(**ELSEWHERE)}/api/v1/openapi.json")
    assert answer.json()["info"]["title"] == "EdgeChat elsewhere"


def test_the_file_depends_on_no_other_setting(data_dir: Path) -> None:
    """So the file that is built with the image is the one of every server that leaves APP_NAME as it is."""
    changed = {"MAX_JSON_BYTES": "77777", "AUTH_RATE_LIMIT": "7/m", "GEMINI_MODEL": "another", "PLAYGROUND": "false"}
    changed |= {"MAX_ATTACHMENTS": "7", "CONTEXT_MAX_TOKENS": "7777", "PUBLIC_URL": "https://chat.example.com"}
    changed |= {"MAX_BODY_BYTES": "7777777", "PRICE_CURRENCY": "EUR", "JWT_ACCESS_EXPIRE_MINUTES": "7"}
    command = [sys.executable, "manage.py", "build_openapi", "--folder", str(data_dir)]
    subprocess.run(command, cwd=PROJECT, env={**os.environ, **changed}, check=True, stdout=subprocess.DEVNULL)
    path = built_file.built_path(data_dir)
    assert path.read_bytes() == built_file.openapi_file().by_coding["identity"]
    assert sorted(each.name for each in data_dir.iterdir()) == [path.name, f"{path.name}.br", f"{path.name}.gz"]


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


def test_the_example_of_a_validation_error_is_one_of_the_operation(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        answer = operation["responses"].get("422", {})
        if "validation_error" in answer.get("x-codes", {}):
            example = answer["content"]["application/json"]["examples"]["validation_error"]["value"]
            place, _, name = example["errors"][0]["field"].partition(".")
            named = {one["name"] for one in operation.get("parameters", []) if one["in"] == place}
            assert place != "body" or "requestBody" in operation, (method, path)
            assert place != "query" or name in named, (method, path)
            assert place != "path" or named, (method, path)


def test_a_regeneration_can_be_a_conflict(document: dict[str, Any]) -> None:
    [regenerate] = [one for _, _, one in operations(document) if one["operationId"] == "message_regenerate"]
    assert "409" in regenerate["responses"]


def test_every_view_of_the_api_has_the_project_s_base_class() -> None:
    assert [path for path, view in api_routes() if not issubclass(view, APIView)] == []


def test_every_json_body_has_an_example_and_each_example_is_valid(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        request = operation.get("requestBody", {}).get("content", {}).get("application/json")
        answers = [answer.get("content", {}).get("application/json") for answer in operation["responses"].values()]
        for content in filter(None, [request, *answers]):
            examples = [example["value"] for example in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            assert examples, where
            for example in examples:
                check_json(content["schema"], example, f"{where}, example")


def streams(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The path, the answers of 200 and the stream's content of each operation that can answer with a stream."""
    for path, _, operation in operations(document):
        answers = operation["responses"].get("200", {}).get("content", {})
        if "text/event-stream" in answers:
            yield path, answers, answers["text/event-stream"]


def test_every_stream_has_whole_streams_as_examples_with_every_event(document: dict[str, Any]) -> None:
    seen: dict[str, set[str]] = {}
    for path, _, content in streams(document):
        texts = [example["value"] for example in content["examples"].values()]
        lines = [line for text in texts for line in checked_stream(text.split("\n"), content["schema"], path)]
        assert all(text.endswith("\n\n") for text in texts)
        if events_of(content["schema"]):
            assert all(text.startswith("retry: 1000\n\n") and "event: " in text for text in texts), path
            assert ": ping" in lines
            names = seen.setdefault(content["schema"]["$ref"], set())
            names |= {line.removeprefix("event: ") for line in lines if line.startswith("event: ")}
            assert events_of(content["schema"]).keys() - names <= {"error"}, path
        else:
            assert lines[-3:] == ["data: [DONE]", "", ""]
    assert any("error" in names for names in seen.values())


def test_every_stream_has_an_operation_that_answers_with_nothing_else(document: dict[str, Any]) -> None:
    """Generators of clients type only one media type of a status."""
    paths = {path for path, *_ in streams(document)}
    assert len(paths) > 10
    for path, answers, content in streams(document):
        if len(answers) == 1:
            assert path.endswith("/stream")
        elif not path.startswith(OPENAI_PATH):
            assert next(iter(answers)) == "application/json"
            assert f"{path}/stream" in paths, path
            sibling = document["paths"][f"{path}/stream"]["post"]["responses"]["200"]["content"]
            assert sibling == {"text/event-stream": content}


def test_every_event_is_told_by_its_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for _, _, content in streams(document):
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        assert len(schema["description"]) > 300
        events = events_of(content["schema"])
        assert [{"$ref": one} for one in events.values()] == schema["oneOf"][: len(events)]
        for name, reference in events.items():
            event = schemas[reference.rpartition("/")[2]]
            assert event["properties"]["event"]["enum"] == [name]
            assert event["description"], reference
            assert {"event", "data"} <= set(event["required"])
