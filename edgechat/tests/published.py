"""Checks every answer to the tests' client against the published OpenAPI file.

Clients must ignore unknown fields, so the published schemas allow more fields. Here an unknown field is a fault.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import jsonschema_rs

ERROR = {"$ref": "#/components/schemas/Error"}
OPENAI_ERROR = {"$ref": "#/components/schemas/OpenAIError"}
OPENAI_PATH = "/api/v1/openai/"
NOTHING = {"enum": [None]}
FILE = "urn:openapi"


class Unpublished(AssertionError):
    """An answer that the OpenAPI file does not contain."""


def check_answer(answer: httpx2.Response, *, streamed: bool) -> None:
    """Raises Unpublished. Of a streamed answer only an error is read here; events are checked as they arrive."""
    method, path, status = answer.request.method, answer.request.url.path, answer.status_code
    media_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if method in ("HEAD", "OPTIONS") or status == 304 or path.rstrip("/") == "/api/v1/openapi.json":
        return
    where = f"{method} {path} {status}"
    operation = _find_operation(method, path)
    if operation is None:
        # Pages and the admin are not in the file, but their errors have the one shape too.
        if path.startswith("/api/"):
            _require(status in (404, 405), f"{where}: no such operation is published")
        if path.startswith("/api/") or (media_type == "application/json" and status >= 400):
            check_json(OPENAI_ERROR if path.startswith(OPENAI_PATH) else ERROR, _body(answer), where)
        return
    response = operation["responses"].get(str(status))
    if response is None:
        raise Unpublished(f"{where}: {operation['operationId']} has no such status")
    _check_headers(answer, response["headers"], where)
    if "content" not in response:
        _require(streamed or not answer.content, f"{where}: no body is published")
        return
    _require(media_type in response["content"], f"{where}: {media_type} is not published")
    schema = response["content"][media_type]["schema"]
    if media_type == "application/json" and not (streamed and answer.is_success):
        body = _body(answer)
        check_json(schema, body, where)
        if schema == ERROR:
            _check_error(response["x-codes"], body, where)
        elif schema == OPENAI_ERROR:
            _require(body["error"]["code"] in response["x-codes"], f"{where}: the code is not published: {body}")
    elif media_type == "application/x-ndjson" and not streamed:
        _check_lines(answer.text.splitlines(), schema["x-lines"], where)
    elif media_type == "text/event-stream":
        if streamed:
            lines = checked_stream(answer.iter_lines(), schema, where)
            answer.iter_lines = lambda: lines  # type: ignore[method-assign]
        else:
            list(checked_stream(answer.text.splitlines(), schema, where))


def _check_headers(answer: httpx2.Response, published: dict[str, Any], where: str) -> None:
    """The headers that the answer must have, and those that it may have only if they are published."""
    for name, reference in published.items():
        header = document()["components"]["headers"][reference["$ref"].rpartition("/")[2]]
        _require(name in answer.headers or not header.get("required"), f"{where}: no {name}")
    for name in ("Retry-After", "WWW-Authenticate", "ETag", "Content-Range", "Content-Disposition", "Set-Cookie"):
        _require(name in published or name not in answer.headers, f"{where}: {name} is not published")


def events_of(schema: dict[str, Any]) -> dict[str, str]:
    """The references to the schemas of a stream's events, by name; none for a stream in OpenAI's protocol."""
    component = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    events: dict[str, str] = component.get("discriminator", {}).get("mapping", {})
    return events


@functools.cache
def document() -> dict[str, Any]:
    """The published file. Read here, because a test's server may be over its limits or have no stores."""
    from edgechat.tests.django_setup import set_up_django

    set_up_django()
    from edgechat.openapi.built_file import openapi_file

    made: dict[str, Any] = json.loads(openapi_file().by_coding["identity"])
    return made


def checked_stream(lines: Iterable[str], schema: dict[str, Any], where: str) -> Iterator[str]:
    """The lines of a stream. Raises Unpublished."""
    return (_checked_events if events_of(schema) else _checked_chunks)(lines, schema, where)


def _checked_events(lines: Iterable[str], schema: dict[str, Any], where: str) -> Iterator[str]:
    """The lines of an event stream. Each event is checked before its last line is passed on."""
    events = events_of(schema)
    event: dict[str, Any] = {}
    for line in lines:
        field, _, value = line.partition(": ")
        if field in ("event", "id"):
            event[field] = value
        elif field == "data":
            event["data"] = json.loads(value)
            _require(event.get("event") in events, f"{where}: the event {event.get('event')!r} is not published")
            check_json({"$ref": events[event["event"]]}, event, f"{where}, event {event['event']}")
            event = {}
        yield line


def _checked_chunks(lines: Iterable[str], schema: dict[str, Any], where: str) -> Iterator[str]:
    """The lines of a stream in OpenAI's protocol. Each is checked before it is passed on."""
    for line in lines:
        _require(line == "" or line.startswith(("data: ", ": ")), f"{where}: {line!r} is no data")
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            check_json(schema, data if data == "[DONE]" else json.loads(data), where)
        yield line


def _check_lines(lines: list[str], bodies: dict[str, Any], where: str) -> None:
    *records, _counts = map(json.loads, lines)
    for record in records:
        kind = record.pop("type")
        check_json(bodies[kind], record, f"{where}, {kind}")


def _check_error(codes: dict[str, Any], body: dict[str, Any], where: str) -> None:
    """The operation's status can have this code, and `context` is the code's."""
    code = body["code"]
    _require(code in codes, f"{where}: the code is not published: {body}")
    check_json(codes[code] or NOTHING, body.get("context"), f"{where}, context of {code}")
    _require(("errors" in body) == (code == "validation_error"), f"{where}: `errors` are of validation: {body}")


def check_json(schema: dict[str, Any], body: Any, where: str) -> None:
    error = next(_validator(json.dumps(schema)).iter_errors(body), None)
    if error is not None:
        place = "".join(f"[{step!r}]" for step in error.instance_path)
        raise Unpublished(f"{where}: {error.message[:500]}, at body{place}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Unpublished(message)


def _body(answer: httpx2.Response) -> Any:
    return json.loads(answer.read())


@functools.cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """Created once for each schema; the components are also read once."""
    strict = _strict(json.loads(schema.replace('"#/', f'"{FILE}#/')))
    return jsonschema_rs.Draft202012Validator(strict, validate_formats=True, registry=_registry())


@functools.cache
def _registry() -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry([(FILE, {"components": _strict(document()["components"])})])


def _strict(schema: Any) -> Any:
    """The JSON Schema of an OpenAPI 3.0 schema, without additional fields, and with times that end with Z."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        strict.setdefault("additionalProperties", False)
    if schema.get("format") == "date-time":
        strict["pattern"] = "Z$"
    if strict.pop("nullable", None) is True:
        return {"anyOf": [strict, {"type": "null"}]}
    return strict


@functools.cache
def _operations() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The paths as patterns; paths with fewer parameters come first."""
    paths = sorted(document()["paths"].items(), key=lambda entry: entry[0].count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path) + "/?"), operations) for path, operations in paths]


def _find_operation(method: str, path: str) -> dict[str, Any] | None:
    for pattern, operations in _operations():
        if pattern.fullmatch(path):
            operation: dict[str, Any] | None = operations.get(method.lower())
            return operation
    return None
