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
from edgechat.openapi.headers import header_references

_REQUEST_ID = "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11"

_DESCRIPTIONS = {
    200: "The call has succeeded.",
    201: "It was created.",
    202: "The call was accepted. What it asks for happens later, if there is something to do.",
    204: "The call has succeeded. There is no body.",
    206: "A part of the file.",
    304: "The client's copy is current. There is no body.",
    400: "Malformed JSON or body, or the call's own refusal.",
    401: "No, bad, expired or revoked token, or wrong credentials.",
    403: "Not allowed.",
    404: "Absent, or another user's.",
    409: "A conflict; `code` says with what.",
    413: "Too large; `detail` names the limit.",
    415: "Type not accepted.",
    416: "No such part of the file.",
    422: "A field is not valid, or the model refuses the content.",
    429: "Too many requests, or a limit of the account's that is used up; see `Retry-After`.",
    499: "The client has closed its half of the connection, which ends the call.",
    500: "A fault of the server.",
    503: "The model or a store is not available, or what the model answered cannot be used.",
}
_EVENTS = "JSON, or events for a client that accepts `text/event-stream`."
_IDS = {
    "attachment_id": "The id of the picture.",
    "conversation_id": "The id of the conversation.",
    "import_id": "The id of the import.",
    "invitation_id": "The id of the invitation.",
    "key_id": "The id of the API key.",
    "mid": "The id of the message.",
    "model_id": "The name of the model.",
    "organization_id": "The id of the organization.",
    "session_id": "The id of the session.",
    "todo_id": "The id of the todo.",
    "user_id": "The id of the user.",
}


class BodySchema(AutoSchema):
    """drf-spectacular's schema, with TypedDicts for answers, lists of them and events, and with the errors."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        # Generated clients take a list with an empty object for one that needs a token.
        operation["security"] = [each for each in operation.get("security", []) if each]
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["description"] = _IDS[parameter["name"]]
        by_status: dict[int, dict[str, type[ApiError]]] = {}
        for error in self._errors(operation):
            status = openai_status(error) if self._is_openai else error.status
            by_status.setdefault(status, {}).setdefault(error.code, error)
        for status, errors in sorted(by_status.items()):
            operation["responses"].setdefault(str(status), self._error_response(status, errors))
        for key, response in operation["responses"].items():
            status = int(key)
            answered = list(by_status.get(status, {}).values()) if "x-codes" in response else []
            response["headers"] = self._headers(status, answered, response.get("content", {}))
            response["description"] = _DESCRIPTIONS[status]
            if response.get("content", {}).keys() >= {"application/json", "text/event-stream"}:
                response["description"] = _EVENTS
        return operation

    def get_summary(self) -> str:
        """The first line of the method's docstring."""
        summary, _, _ = super().get_description().partition("\n")
        return summary.removesuffix(".")

    def get_description(self) -> str:  # type: ignore[override]
        """The docstring without its first line."""
        _, _, description = super().get_description().partition("\n\n")
        return description

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

    def _headers(self, status: int, errors: list[type[ApiError]], content: dict[str, Any]) -> dict[str, Any]:
        """The headers of a response: those of all its errors are always there, others only sometimes."""
        sent: dict[int, tuple[str, ...]] = getattr(self._method, "sends", {})
        always = [set(error.sends) for error in errors] or [set(sent.get(status, ())) - {"Set-Cookie"}]
        sometimes = set(sent.get(status, ())) | ({"Retry-After"} if status == 503 and errors else set())
        if self._is_openai and errors:
            sometimes.add("x-should-retry")
        if "text/event-stream" in content:
            sometimes |= {"Cache-Control", "X-Accel-Buffering"}
        return header_references(set.intersection(*always), sometimes.union(*always))

    def _errors(self, operation: dict[str, Any]) -> Iterator[type[ApiError]]:
        parameters = operation.get("parameters", [])
        yield from getattr(self._method, "raises", ())
        yield from (ApiError, MalformedRequest)
        if "health" not in self.path:
            yield RateLimited
            if self.path != "/":
                yield StoreUnavailable
        if {"accessToken": []} in operation.get("security", []):
            yield from (*_with_subclasses(NotAuthenticated), PermissionDenied)
        if "{" in self.path:
            yield NotFound
        if "requestBody" in operation:
            yield from (TooLarge, UnsupportedType, Invalid)
            if "application/json" in operation["requestBody"]["content"]:
                yield MalformedJSON
        if any(one["in"] == "query" or one["schema"]["type"] == "integer" for one in parameters):
            yield Invalid

    @property
    def _is_openai(self) -> bool:
        return bool(self.path.startswith(OPENAI_PATH))

    @property
    def _method(self) -> Any:
        return getattr(self.view, self.method.lower())

    def _error_response(self, status: int, errors: dict[str, type[ApiError]]) -> dict[str, Any]:
        if self._is_openai:
            return self._openai_response(errors)
        contexts = {code: self._context(error) for code, error in errors.items()}
        examples = {code: {"value": self._example(error)} for code, error in errors.items()}
        content = {"application/json": {"schema": self._published(Error), "examples": examples}}
        return {"content": content, "x-codes": contexts}

    def _context(self, error: type[ApiError]) -> dict[str, Any] | None:
        """The schema of an error's context; None for an error without one."""
        failed_with = getattr(self._method, "failed_with", None)
        if error.context_body is not None:
            return self._published(error.context_body)
        if failed_with is not None and error in self._method.failing:
            return self._published(failed_with)
        if failed_with is not None and error in (ApiError, StoreUnavailable):
            return {"allOf": [self._published(failed_with)], "nullable": True}
        return None

    def _openai_response(self, errors: dict[str, type[ApiError]]) -> dict[str, Any]:
        examples = {code: {"value": self._openai_example(error)} for code, error in errors.items()}
        content = {"application/json": {"schema": self._published(OpenAIError), "examples": examples}}
        return {"content": content, "x-codes": dict.fromkeys(errors)}

    def _example(self, error: type[ApiError]) -> dict[str, Any]:
        """The body without what `edgechat.openapi.examples` adds: the context, and the faults of fields."""
        return {"detail": self._detail(error), "code": error.code, "request_id": _REQUEST_ID}

    def _openai_example(self, error: type[ApiError]) -> Any:
        shown = ApiError(self._detail(error), code=error.code)
        shown.status = error.status
        return openai_error_body(shown)

    def _detail(self, error: type[ApiError]) -> str:
        if error is UnsupportedType:
            return f"Unsupported media type; accepted: {self.view.parser_classes[0].media_type}"
        if error is TooLarge:
            limit = getattr(self.view, "max_json_bytes", 256 * 1024)
            return getattr(self.view, "too_large", "") or f"The body may have {limit} bytes at most"
        return error.detail


def _with_subclasses(error: type[ApiError]) -> Iterable[type[ApiError]]:
    yield error
    for subclass in error.__subclasses__():
        yield from _with_subclasses(subclass)
