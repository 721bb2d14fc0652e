"""Adds limits to a JSON Schema, so that a small model that rambles still completes its JSON within its tokens."""

from typing import Any

MAX_STRING_CHARACTERS = 200
MAX_ARRAY_ITEMS = 6
MAX_DEPTH = 20
ANY_OBJECT = {"type": "object", "maxProperties": 6, "additionalProperties": {"type": ["string", "number"]}}


def bound_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, or a narrower one: strings, lists and blanks without a limit get one."""
    bounded = bound(schema or ANY_OBJECT, 0)
    if bounded.get("type") == "array":
        # If an empty list is allowed, the model always writes one.
        bounded.setdefault("minItems", min(1, int(bounded["maxItems"])))
    return {**bounded, "x-guidance": {"whitespace_flexible": False}}


def bound(schema: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        return schema
    out = dict(schema)
    kind = out.get("type")
    if kind in ("string", ["string", "number"]) and "enum" not in out and "format" not in out and "pattern" not in out:
        out.setdefault("maxLength", max(MAX_STRING_CHARACTERS, int(out.get("minLength", 0))))
    if kind == "array":
        out.setdefault("maxItems", max(MAX_ARRAY_ITEMS, int(out.get("minItems", 0))))
    if kind == "object" and out.get("properties"):
        # A small model would keep inventing properties that the schema does not name.
        out.setdefault("additionalProperties", False)
        out.setdefault("required", list(out["properties"]))
    for name in ("properties", "$defs"):
        if isinstance(out.get(name), dict):
            out[name] = {key: bound_any(value, depth) for key, value in out[name].items()}
    for name in ("items", "additionalProperties"):
        if name in out:
            out[name] = bound_any(out[name], depth)
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(out.get(name), list):
            out[name] = [bound_any(option, depth) for option in out[name]]
    return out


def bound_any(value: Any, depth: int) -> Any:
    return bound(value, depth + 1) if isinstance(value, dict) else value
