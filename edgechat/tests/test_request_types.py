"""Each field of a JSON body accepts only its own JSON type, as published in the OpenAPI file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import User
from conftest import Person
from edgechat.tests.published import OPENAI_PATH, document

NULL = {"$ref": "#/components/schemas/NullEnum"}
VALUES: list[Any] = [None, True, 5, 5.5, "text", ["text"], [5], {"a": 1}]


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and properties of each call that takes JSON. `ai.tests.test_openai_chat` tests OpenAI's protocol."""
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None and not path.startswith(OPENAI_PATH):
                yield (
                    method,
                    re.sub(r"{\w+}", "1", path).removeprefix("/api/v1/"),
                    resolved(body["schema"])["properties"],
                )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its references and alternatives inlined."""
    found = dict(schema)
    for part in (schema, *schema.get("allOf", []), *schema.get("oneOf", [])[:1]):
        if "$ref" in part:
            found |= document()["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    return found


def refused_place(name: str, schema: dict[str, Any], value: Any) -> str | None:
    """The place at which a value of another type than the field's is refused; None for a value of its own type."""
    field = resolved(schema)
    if value is None:
        may_be_null = schema.get("nullable") or NULL in schema.get("oneOf", ())
        return None if may_be_null else f"body.{name}"
    own = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}[field["type"]]
    if type(value) is not own:
        return f"body.{name}"
    if isinstance(value, list) and refused_place("0", field["items"], value[0]):
        return f"body.{name}.0"
    return None


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_of_another_type_is_422_on_its_field(alice: Person, value: Any) -> None:
    User.objects.filter(pk=alice.id).update(is_staff=True)  # a staff member may change other users
    answered = 0
    for method, path, properties in bodies():
        places = {name: refused_place(name, schema, value) for name, schema in properties.items()}
        body = {name: value for name, place in places.items() if place}
        if not body:
            continue
        answer = alice.request(method, path.replace("users/1", f"users/{alice.id}"), json=body)
        assert answer.status_code == 422, (method, path, body, answer.text)
        told = {fault["field"] for fault in answer.json()["errors"]}
        assert told >= {place for place in places.values() if place}, (method, path, body, answer.text)
        answered += 1
    assert answered > 5


def test_unknown_fields_are_ignored(alice: Person) -> None:
    answer = alice.post("todos", json={"title": "Water the plants", "colour": 5, "description": None})
    assert (answer.status_code, answer.json()["title"]) == (200, "Water the plants")
