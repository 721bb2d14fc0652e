"""Answers. Each body is one TypedDict, which mypy checks, `encode_json` writes and the OpenAPI file publishes.

A field is published as its annotation says. `Annotated` adds to it: a text is its description, `Keywords` adds keywords
to its schema. A field that may be absent is `NotRequired`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from django.http import HttpResponse

from edgechat.http.answer_bytes import encode_json

B = TypeVar("B")


class Answer(Generic[B], HttpResponse):
    """An answer of 200, or another status, with a body, which is encoded now.

    The annotation of a view's method publishes it: `def get(self, request: Request) -> Answer[TodoOutput]`.
    """

    answered = 200

    def __init__(self, body: B, *, status: int | None = None) -> None:
        super().__init__(encode_json(body), status=status or self.answered, content_type="application/json")


class Created(Answer[B]):
    answered = 201


class Accepted(Answer[B]):
    answered = 202


class NoContent(HttpResponse):
    def __init__(self) -> None:
        super().__init__(status=204)
        del self.headers["Content-Type"]


class Keywords:
    """More keywords for a field's schema: `Annotated[str, Keywords(maxLength=100)]`."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


class Words:
    """Known values of a text, each with its meaning. More may come, so they are published as an enum beside any text.

    `Annotated[str, Words("FinishReason", STOP="…")]`
    """

    def __init__(self, name: str, **meanings: str) -> None:
        self.name, self.meanings = name, meanings

    def component(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.meanings), "description": listed(self.meanings)}


def listed(meanings: Mapping[str, str]) -> str:
    """The values of an enum with their meanings, as a list in Markdown."""
    return "\n".join(f"* `{value}`: {meaning}" for value, meaning in meanings.items())


def open_enum(name: str) -> dict[str, Any]:
    """The schema of a text that is usually one of an enum's values."""
    return {"anyOf": [_reference(name), {"type": "string"}]}


class Events:
    """The events of a stream by name, each with the body of its `data`, published as one schema with a discriminator.

    A body may be annotated with a description of its event. `resumable`: events have an `id`; an `error` may have none.
    """

    def __init__(self, name: str, description: str, *, resumable: bool = False, **bodies: Any) -> None:
        self.name, self.description = name, description
        self.resumable = resumable
        self.bodies = bodies


class Chunks:
    """The `data:` lines of a stream without names of events, as in OpenAI's protocol; the last one is `[DONE]`."""

    def __init__(self, name: str, description: str, *bodies: Any) -> None:
        self.name, self.description = name, description
        self.bodies = bodies


class Lines:
    """JSON lines by their `type`, each with the body of its other fields."""

    def __init__(self, **bodies: Any) -> None:
        self.bodies = bodies


Components = dict[str, dict[str, Any]]


def is_body(hint: Any) -> bool:
    return is_typeddict(hint) or get_origin(hint) is list or isinstance(hint, Events | Chunks | Lines)


def schema_of(hint: Any, components: Components) -> dict[str, Any]:
    """The schema of a body, or of a field's annotation. Each TypedDict in it is added to `components`, by its name."""
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, Events):
        components[hint.name] = _events(hint, components)
        return _reference(hint.name)
    if isinstance(hint, Chunks):
        kinds = [*(schema_of(body, components) for body in hint.bodies), {"type": "string", "enum": ["[DONE]"]}]
        components[hint.name] = {"oneOf": kinds, "description": hint.description}
        return _reference(hint.name)
    if isinstance(hint, Lines):
        parts = {name: schema_of(body, components) for name, body in hint.bodies.items()}
        description = "`x-lines` has, for each `type` of line, the schema of its other fields."
        return {"type": "string", "description": description, "x-lines": parts}
    if is_typeddict(hint):
        if hint.__name__ not in components:
            components[hint.__name__] = _object(hint, components)
        return _reference(hint.__name__)
    if origin is list:
        return {"type": "array", "items": schema_of(args[0], components)}
    if origin is NotRequired:
        return schema_of(args[0], components)
    if origin is Annotated:
        schema = schema_of(args[0], components)
        for each in hint.__metadata__:
            if isinstance(each, Words):
                components[each.name] = each.component()
                schema = {name: value for name, value in schema.items() if name != "type"} | open_enum(each.name)
            else:
                schema = _with(schema, {"description": each} if isinstance(each, str) else each.keywords)
        return schema
    if origin in (Union, UnionType) and NoneType in args and len(args) == 2:
        schema = schema_of(args[0] if args[1] is NoneType else args[1], components)
        values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return _with(schema, {**values, "nullable": True})
    # Imported here, because it reads the settings, which are not available when gunicorn imports this module.
    from drf_spectacular.plumbing import resolve_type_hint

    return cast("dict[str, Any]", resolve_type_hint(hint))  # type: ignore[no-untyped-call]


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _events(events: Events, components: Components) -> dict[str, Any]:
    """One object for each event: its name, its id and its data."""
    mapping = {}
    for kind, body in events.bodies.items():
        name = f"{events.name.removesuffix('Event')}{kind.capitalize()}Event"
        # `edgechat.openapi.streams` makes it an enum of this one name.
        fields = {"event": {"type": "string", "description": "The name of the event."}}
        if events.resumable:
            fields["id"] = {
                "type": "string",
                "description": "Opaque; the `Last-Event-ID` to continue after this event.",
            }
        described = schema_of(body, components)
        data = described["allOf"][0] if "allOf" in described else described
        components[name] = {
            "type": "object",
            "description": described.get("description", ""),
            "properties": {**fields, "data": {"allOf": [data], "description": "The `data:` line, parsed."}},
            "required": ["event", *(["id"] if events.resumable and kind != "error" else []), "data"],
        }
        mapping[kind] = _reference(name)["$ref"]
    return {
        "oneOf": [{"$ref": one} for one in mapping.values()],
        "discriminator": {"propertyName": "event", "mapping": mapping},
        "description": events.description,
    }


def _object(body: Any, components: Components) -> dict[str, Any]:
    fields = get_type_hints(body, include_extras=True)
    properties = {name: schema_of(hint, components) for name, hint in fields.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required := [name for name, hint in fields.items() if get_origin(hint) is not NotRequired]:
        schema["required"] = required
    if body.__doc__ is not None:
        schema["description"] = body.__doc__
    return schema


def _with(schema: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A schema with more keywords. OpenAPI 3.0 ignores keywords beside a reference."""
    return {**({"allOf": [schema]} if "$ref" in schema else schema), **more}
