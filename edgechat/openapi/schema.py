"""The OpenAPI file: the answers of every operation, errors included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from edgechat.errors import (
    OPENAI_PATH,
    ApiError,
    Error,
    Invalid,
    MalformedJSON,
    MalformedRequest,
    NotAuthenticated,
    NotFound,
    OpenAIError,
    PermissionDenied,
    RateLimited,
    StoreUnavailable,
    TooLarge,
    UnsupportedType,
    openai_error_body,
    openai_status,
)
from edgechat.http.bodies import Answer, Components, NoContent, is_body, schema_of
from edgechat.openapi import authentication  # noqa: F401  (registers itself)

_REQUEST_ID = "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11"

_DESCRIPTIONS = {
    400: "Malformed JSON or body, or the call's own refusal",
    401: "No, bad, expired or revoked token, or wrong credentials",
    403: "Not allowed",
    404: "Absent, or another user's",
    409: "A conflict; `code` says with what",
    413: "Too large; `detail` names the limit",
    415: "Type not accepted",
    416: "No such part of the file",
    422: "Validation",
    429: "Too many requests, or a limit of the account's that is used up; see Retry-After",
    499: "The client has closed its half of the connection, which ends the call",
    500: "A fault of the server",
    503: "The model or a store is not available, or what the model answered cannot be used",
}


class BodySchema(AutoSchema):
    """drf-spectacular's schema, with TypedDicts for answers, lists of them and events, and with the errors."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            by_status: dict[int, dict[str, type[ApiError]]] = {}
            for error in self._errors(operation):
                status = openai_status(error) if self._is_openai else error.status
                by_status.setdefault(status, {}).setdefault(error.code, error)
            for status, errors in sorted(by_status.items()):
                operation["responses"].setdefault(str(status), self._error_response(status, errors, operation))
        return operation

    def get_response_serializers(self) -> Any:
        """The return annotation of the method; `extend_schema` declares answers that are not a single `Answer`."""
        hint = get_type_hints(self._method)["return"]
        for each in get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]:
            kind = get_origin(each) or each
            if issubclass(kind, NoContent):
                return {204: None}
            if issubclass(kind, Answer):
                return {kind.answered: get_args(each)[0]}
        return None

    def _get_response_for_code(self, serializer: Any, *args: Any, **kwargs: Any) -> Any:
        response = self._published(serializer) if is_body(serializer) else serializer
        return super()._get_response_for_code(response, *args, **kwargs)  # type: ignore[no-untyped-call]

    def _published(self, body: Any) -> dict[str, Any]:
        components: Components = {}
        schema = schema_of(body, components)
        for name, component in components.items():
            self.registry.register_on_missing(
                ResolvedComponent(name, ResolvedComponent.SCHEMA, component, name)  # type: ignore[no-untyped-call]
            )
        return schema

    def _errors(self, operation: dict[str, Any]) -> Iterator[type[ApiError]]:
        parameters = operation.get("parameters", [])
        yield from (ApiError, MalformedRequest)
        if "health" not in self.path:
            yield from (RateLimited, StoreUnavailable)
        if {"accessToken": []} in operation.get("security", []):
            yield from (*_with_subclasses(NotAuthenticated), PermissionDenied)
        if "{" in self.path:
            yield NotFound
        if "requestBody" in operation:
            yield from (MalformedJSON, TooLarge, UnsupportedType, Invalid)
        if any(one["in"] == "query" or one["schema"]["type"] == "integer" for one in parameters):
            yield Invalid
        yield from getattr(self._method, "raises", ())

    @property
    def _is_openai(self) -> bool:
        return bool(self.path.startswith(OPENAI_PATH))

    @property
    def _method(self) -> Any:
        return getattr(self.view, self.method.lower())

    def _error_response(
        self, status: int, errors: dict[str, type[ApiError]], operation: dict[str, Any]
    ) -> dict[str, Any]:
        if self._is_openai:
            return self._openai_response(status, errors)
        contexts: dict[str, Any] = {}
        for code, error in errors.items():
            contexts[code] = None if error.context_body is None else self._published(error.context_body)
            failed_with = getattr(self._method, "failed_with", None)
            if contexts[code] is None and failed_with is not None and status in (429, 500, 503):
                contexts[code] = {"allOf": [self._published(failed_with)], "nullable": True}
        examples = {code: {"value": _example(error, operation)} for code, error in errors.items()}
        shown: dict[str, Any] = {"examples": examples}
        if len(examples) == 1 or status == Invalid.status:
            shown = {"example": next(iter(examples.values()))["value"]}
        content = {"application/json": {"schema": self._published(Error), **shown}}
        return {"description": _DESCRIPTIONS[status], "content": content, "x-codes": contexts}

    def _openai_response(self, status: int, errors: dict[str, type[ApiError]]) -> dict[str, Any]:
        examples = {code: {"value": _openai_example(error)} for code, error in errors.items()}
        content = {"application/json": {"schema": self._published(OpenAIError), "examples": examples}}
        return {"description": _DESCRIPTIONS[status], "content": content, "x-codes": dict.fromkeys(errors)}


def _openai_example(error: type[ApiError]) -> Any:
    body = openai_error_body(ApiError(error.detail, code=error.code))
    body["error"]["param"] = "messages" if error is Invalid else None
    return body


def _with_subclasses(error: type[ApiError]) -> Iterable[type[ApiError]]:
    yield error
    for subclass in error.__subclasses__():
        yield from _with_subclasses(subclass)


def _example(error: type[ApiError], operation: dict[str, Any]) -> dict[str, Any]:
    example: dict[str, Any] = {"detail": error.detail, "code": error.code, "request_id": _REQUEST_ID}
    if error is Invalid:
        example["errors"] = [_fault(operation)]
    if error.context_body is not None:
        components: Components = {}
        schema_of(error.context_body, components)
        fields = components[error.context_body.__name__]["properties"]
        example["context"] = {name: field["example"] for name, field in fields.items() if "example" in field}
    return example


def _fault(operation: dict[str, Any]) -> dict[str, str]:
    if "requestBody" in operation:
        return {"field": "body.email", "message": "Enter a valid email address."}
    for one in operation.get("parameters", []):
        if one["in"] == "query":
            integer = one["schema"].get("type") == "integer"
            message = "A valid integer is required." if integer else "Not a valid string."
            return {"field": f"query.{one['name']}", "message": message}
    return {"field": "path.id", "message": "A valid integer is required."}
