"""Every error that a client can see.

An exception owns its status, code, text, headers and context; one function builds every error body.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any, NotRequired, TypedDict

import django.db
import structlog
from django.core.exceptions import DisallowedHost, RequestDataTooBig, TooManyFilesSent
from django.http import HttpRequest, HttpResponse
from rest_framework import exceptions as drf

from edgechat.graphemes import cut, next_boundary
from edgechat.http.answer_bytes import encode_json
from edgechat.http.bodies import Keywords
from edgechat.http.request_state import state_of
from edgechat.metrics import catalog
from edgechat.processes.shortage import missing_resource

logger = structlog.get_logger(__name__)

MAX_FIELD_ERRORS = 20
MAX_TEXT_CHARACTERS = 100


class FieldError(TypedDict):
    field: Annotated[str, "Where: `body.email`, `query.limit`, `path.id` or `header.Idempotency-Key`."]
    message: Annotated[str, "What is wrong, for people.", Keywords(maxLength=MAX_TEXT_CHARACTERS)]


class Error(TypedDict):
    detail: Annotated[str, "For people."]
    code: Annotated[str, "For programs; never changes its meaning."]
    request_id: Annotated[str, "The id of the request, as in the header `X-Request-ID`."]
    errors: NotRequired[
        Annotated[
            list[FieldError],
            f"With `validation_error`: what is wrong with which field; the first {MAX_FIELD_ERRORS} faults.",
            Keywords(maxItems=MAX_FIELD_ERRORS),
        ]
    ]
    context: NotRequired[
        Annotated[dict[str, Any], "Where there is something to act on; `x-codes` of each response has its schema."]
    ]


class LimitContext(TypedDict):
    limit: Annotated[int, "The maximum number.", Keywords(example=500)]


class OpenAIErrorDetails(TypedDict):
    message: Annotated[str, "For people."]
    type: Annotated[str, "`invalid_request_error`, `rate_limit_error`, `server_error` or another of OpenAI's."]
    param: Annotated[str | None, "The faulty field of the request."]
    code: Annotated[str, "For programs; the code that the other calls answer."]


class OpenAIError(TypedDict):
    """Every error below `/api/v1/openai`, in OpenAI's shape."""

    error: Annotated[OpenAIErrorDetails, "The error."]


# Below this path, errors have OpenAI's shape.
OPENAI_PATH = "/api/v1/openai/"
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# OpenAI's clients wait no longer than this for a retry, whatever `Retry-After` says.
_OPENAI_PATIENCE_SECONDS = 60


class ApiError(Exception):
    """An error to be answered: status, code and text, with optional headers, `context` and `errors`.

    `permanent`: a retry of the same request cannot succeed. `context_body` is the TypedDict of the context, for an
    error that always has one; `sends` names the headers that it always has. `detail` is written for the client's user
    and never holds the text of another exception. `limit` says for staff which limit or queue refused the request, in
    one constant word, where a code has several.
    """

    status = 500
    code = "internal_error"
    detail = "Internal server error"
    context_body: type | None = None
    sends: tuple[str, ...] = ()
    permanent = False
    limit = ""

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        limit: str | None = None,
        headers: Mapping[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.code = code or self.code
        self.limit = limit or self.limit
        self.headers = dict(headers or {})
        self.context = dict(context) if context is not None else None
        self.errors = errors

    @property
    def recorded_as(self) -> str:
        """The code, with the limit if there are several: `budget_exceeded:user_month`. Their number is bounded."""
        return f"{self.code}:{self.limit}" if self.limit else self.code


class MalformedRequest(ApiError):
    status, code, detail = 400, "malformed_request", "Malformed request"


class MalformedJSON(ApiError):
    status, code, detail = 400, "malformed_json", "Malformed JSON"


class NotAuthenticated(ApiError):
    status, code, detail = 401, "not_authenticated", "Not authenticated"
    sends = ("WWW-Authenticate",)

    def __init__(self, detail: str | None = None, **kwargs: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **kwargs)


class PermissionDenied(ApiError):
    status, code, detail = 403, "permission_denied", "You do not have permission to do this"


class NotFound(ApiError):
    status, code, detail = 404, "not_found", "Not found"


class MethodNotAllowed(ApiError):
    status, code, detail = 405, "method_not_allowed", "Method not allowed"


class TooLarge(ApiError):
    status, code, detail = 413, "too_large", "Too large"


class UnsupportedType(ApiError):
    status, code, detail = 415, "unsupported_type", "Unsupported media type"


class Invalid(ApiError):
    """One or more faulty fields: `Invalid({"body.email": "message"})`.

    The answer has the first MAX_FIELD_ERRORS of them. Each text is cut to MAX_TEXT_CHARACTERS, because it may quote the
    request.
    """

    status, code, detail = 422, "validation_error", "Validation error"

    def __init__(self, fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        errors = [FieldError(field=name, message=shorten(text)) for name, text in islice(pairs, MAX_FIELD_ERRORS)]
        super().__init__(errors=errors)


class RateLimited(ApiError):
    """Answered with `Retry-After`: whole seconds, rounded up, at least 1."""

    status, code, detail = 429, "rate_limited", "Too many requests"
    sends = ("Retry-After",)

    def __init__(self, detail: str | None = None, *, retry_after: float, **kwargs: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, math.ceil(retry_after)))}, **kwargs)


class StoreUnavailable(ApiError):
    """PostgreSQL, MongoDB or Redis does not answer, and this call needs it."""

    status, code, detail = 503, "store_unavailable", "The service is temporarily unavailable, please try again"
    sends = ("Retry-After",)

    def __init__(self, detail: str | None = None, *, retry_after: int = 1, **kwargs: Any) -> None:
        # A store that failed is tried again after a second (edgechat.stores.breaker).
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **kwargs)


def error_body(error: ApiError, request_id: str) -> Error:
    """The one shape of every error: detail, code, request_id, and `errors` and `context` where present."""
    body = Error(detail=error.detail, code=error.code, request_id=request_id)
    if error.errors is not None:
        body["errors"] = error.errors
    if error.context is not None:
        body["context"] = error.context
    return body


def error_response(request: HttpRequest, error: ApiError) -> HttpResponse:
    """An error as a plain Django response, for middleware and for failures before a view is reached."""
    state_of(request).error = error.recorded_as
    if request.path_info.startswith(OPENAI_PATH):
        return _openai_response(error)
    body = error_body(error, state_of(request).request_id)
    return HttpResponse(encode_json(body), status=error.status, content_type="application/json", headers=error.headers)


def _openai_response(error: ApiError) -> HttpResponse:
    """The error for OpenAI's clients, which retry many statuses by themselves unless a header tells them not to."""
    status, headers = openai_status(error), dict(error.headers)
    too_long = int(headers.get("Retry-After", 0)) > _OPENAI_PATIENCE_SECONDS
    if error.permanent or too_long or (status < 500 and status not in (408, 429)):
        headers["x-should-retry"] = "false"
    return HttpResponse(
        encode_json(openai_error_body(error)), status=status, content_type="application/json", headers=headers
    )


def openai_status(error: ApiError | type[ApiError]) -> int:
    """OpenAI has one status for faulty requests."""
    return 400 if error.status == Invalid.status else error.status


def openai_error_body(error: ApiError) -> OpenAIError:
    message, param = error.detail, None
    if error.errors:
        _, _, param = error.errors[0]["field"].partition(".")
        message = "; ".join(
            f"{each['field'].partition('.')[2]}: {each['message']}".lstrip(": ") for each in error.errors
        )
    status = openai_status(error)
    kind = "server_error" if status >= 500 else _OPENAI_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param or None, "code": error.code}}


def exception_handler(exception: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """REST framework's hook. None for a fault of the application: Django logs it, and `server_error` answers."""
    error = to_api_error(exception, accepted=_accepted(context.get("view")))
    return None if error is None else error_response(context["request"]._request, error)


def _accepted(view: Any) -> str:
    return ", ".join(parser.media_type for parser in getattr(view, "parser_classes", ()))


def to_api_error(exception: Exception, *, accepted: str = "application/json") -> ApiError | None:
    """The error to answer for this exception; None for a fault of the application. `accepted`: the bodies' types."""
    match exception:
        case ApiError():
            return exception
        case drf.ValidationError():
            return Invalid(field_errors(exception.detail, prefix="body"))
        case drf.ParseError():
            return MalformedJSON()
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return NotAuthenticated()
        case drf.PermissionDenied():
            return PermissionDenied()
        case drf.MethodNotAllowed():
            return MethodNotAllowed()
        case drf.UnsupportedMediaType():
            return UnsupportedType(f"Unsupported media type; accepted: {accepted}")
        case drf.Throttled():
            # REST framework's throttles here are those of single calls (edgechat.http.rate_limit).
            return RateLimited(retry_after=getattr(exception, "wait", None) or 1, limit="address_strict")
        case drf.NotFound():
            return NotFound()
        case RequestDataTooBig() | TooManyFilesSent():
            return TooLarge()
    resource = missing_resource(exception)
    if resource is not None:
        with suppress(MemoryError):
            catalog.requests_shed.labels(f"no_{resource}").inc()
            logger.error("resource_missing", resource=resource, reason=repr(exception)[:500])
        return StoreUnavailable()
    if isinstance(exception, django.db.OperationalError | django.db.InterfaceError):
        logger.error("database_unavailable", reason=repr(exception)[:500])
        return StoreUnavailable()
    return None


def field_errors(detail: Any, *, prefix: str) -> Iterator[tuple[str, str]]:
    """REST framework's nested error detail, flattened to pairs `("body.a.0.b", message)`."""
    if isinstance(detail, Mapping):
        for name, value in detail.items():
            # A name in an object that the client defines may have any length.
            nested = prefix if name == "non_field_errors" else f"{prefix}.{shorten(str(name))}"
            yield from field_errors(value, prefix=nested)
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            nested = f"{prefix}.{index}" if isinstance(value, (Mapping, list)) else prefix
            yield from field_errors(value, prefix=nested)
    else:
        # REST framework quotes the refused value, and a lone surrogate cannot be written as UTF-8.
        yield prefix, shorten(str(detail)).encode(errors="replace").decode()


def shorten(text: str) -> str:
    """The text, without its middle if it is longer than MAX_TEXT_CHARACTERS: the end often names the fault."""
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return f"{cut(text, 59)}…{text[next_boundary(text, len(text) - 40) :]}"


# --- What Django calls when no view is reached ------------------------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    host = request.META.get("HTTP_HOST", "")[:MAX_TEXT_CHARACTERS]
    structlog.contextvars.bind_contextvars(refused=type(exception).__name__, host=host)
    limit = "host" if isinstance(exception, DisallowedHost) else None
    return error_response(request, to_api_error(exception) or MalformedRequest(limit=limit))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, PermissionDenied())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_response(request, NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    # Also called for what is raised outside of views, in middleware.
    exception = sys.exception()
    error = to_api_error(exception) if isinstance(exception, Exception) else None
    response = error_response(request, error or ApiError())
    # RequestMiddleware adds it to every answer, but the fault may be its own: it had no memory, for example.
    response.headers["X-Request-ID"] = state_of(request).request_id
    return response
