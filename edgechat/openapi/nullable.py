"""What may be null, in the one way that OpenAPI 3.0 has for a schema without a type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NULL = {"$ref": "#/components/schemas/NullEnum"}


def add_null(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: replace `nullable` by an alternative where it has no `type` beside it.

    There it means nothing, and a reference to a component would exclude null.
    """
    for schema in list(_nullable_without_type(result)):
        del schema["nullable"]
        kind = "anyOf" if "anyOf" in schema else "oneOf"
        alternatives = schema.pop("allOf", None) or schema[kind]
        schema[kind] = [*(each for each in alternatives if each != _NULL), _NULL]
        result["components"]["schemas"].setdefault("NullEnum", {"enum": [None]})
    return result


def _nullable_without_type(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if part.get("nullable") is True and "type" not in part:
            yield part
        for each in part.values():
            yield from _nullable_without_type(each)
    elif isinstance(part, list):
        for each in part:
            yield from _nullable_without_type(each)
