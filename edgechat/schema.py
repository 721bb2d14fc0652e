"""What every operation of the OpenAPI file has in common: the error answers."""

from __future__ import annotations

from typing import Any

from edgechat.errors import MAX_FIELD_ERRORS, MAX_TEXT_CHARACTERS

_ERROR = {
    "type": "object",
    "required": ["detail", "code", "request_id"],
    "properties": {
        "detail": {"type": "string", "description": "For people."},
        "code": {"type": "string", "description": "For programs; never changes its meaning."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "With 422: what is wrong with which field; the first 20 faults.",
            "maxItems": MAX_FIELD_ERRORS,
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string", "maxLength": MAX_TEXT_CHARACTERS},
                },
            },
        },
        "context": {
            "type": "object",
            "description": "Where there is something to act on.",
            "additionalProperties": True,
        },
    },
}

_REQUEST_ID = "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11"

_DESCRIPTIONS = {
    "400": ("Malformed JSON or body, or the call's own refusal", "malformed_json", "Malformed JSON"),
    "401": ("No, bad, expired or revoked token", "not_authenticated", "Not authenticated"),
    "403": ("Not allowed", "permission_denied", "You do not have permission to do this"),
    "404": ("Absent, or somebody else's", "not_found", "Not found"),
    "409": ("A conflict; `code` says with what", "generation_in_progress", "Conflict"),
    "413": ("Too large; `detail` names the limit", "too_large", "The body may have 262144 bytes at most"),
    "415": ("Type not accepted", "unsupported_type", "Unsupported media type; accepted: application/json"),
    "416": ("No such part of the file", "range_not_satisfiable", "The file has no such part"),
    "422": ("Validation", "validation_error", "Validation error"),
    "429": ("Too many requests; see Retry-After", "rate_limited", "Too many requests"),
    "499": (
        "The client has closed its half of the connection, which ends the call",
        "client_closed_request",
        "The client closed the connection",
    ),
    "500": ("Our fault", "internal_error", "Internal server error"),
    "503": ("The model or a store is not available", "store_unavailable", "The service is temporarily unavailable"),
}

_MODEL_OPERATIONS = {"message_send", "message_regenerate", "action_items", "ai_complete", "ai_vision", "ai_summarize"}
_MODEL_429: dict[str, dict[str, Any]] = {
    "rate_limited": {"detail": "Too many requests", "code": "rate_limited"},
    "budget_exceeded": {
        "detail": "The account's budget of 1000000 tokens a month has not enough left for this",
        "code": "budget_exceeded",
        "context": {"budget": "user_month", "resets_at": "2026-12-01T00:00:00Z"},
    },
    "model_quota": {"detail": "The model's quota is used up, please try again later", "code": "model_quota"},
    "too_many_replies": {
        "detail": "10 replies are being written for this account, as many as there may be; wait for one of them to end",
        "code": "too_many_replies",
    },
}
_MODEL_503: dict[str, dict[str, Any]] = {
    "model_unavailable": {
        "detail": "The model is not available, please try again",
        "code": "model_unavailable",
    },
    "model_output_invalid": {
        "detail": "The model's answer cannot be used, please try again",
        "code": "model_output_invalid",
    },
    "store_unavailable": {
        "detail": "The service is temporarily unavailable, please try again",
        "code": "store_unavailable",
    },
}

# Beyond what follows from an operation's parameters.
_OF_OPERATION = {
    "login": ["401"],
    "refresh": ["401"],
    "signin": ["401"],
    "users_login": ["401", "403"],
    "users_refresh": ["401", "403"],
    "users_logout": ["403"],
    "user_list": ["403"],
    "user_update": ["403"],
    "organization_create": ["409"],
    "organization_update": ["403"],
    "organization_delete": ["403"],
    "member_add": ["403", "409"],
    "member_update": ["403", "409"],
    "member_delete": ["403", "409"],
    "invitation_revoke": ["403"],
    "invitation_accept": ["409"],
    "conversation_update": ["403"],
    "conversation_delete": ["403"],
    "message_send": ["403", "409"],
    "message_stop": ["403"],
    "message_regenerate": ["403", "409"],
    "message_feedback": ["403"],
    "attachment_create": ["409"],
    "attachment_get": ["416"],
    "attachment_delete": ["403"],
    "todo_create": ["409"],
    "todo_delete": ["403"],
    "action_items": ["403", "409", "422", "499"],
    "ai_complete": ["499"],
    "ai_vision": ["499"],
    "ai_summarize": ["404", "499"],
    "usage_organization": ["403"],
}


def add_error_responses(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's hook: give each operation the errors that it can answer with, in the one error shape."""
    result["components"]["schemas"]["Error"] = _ERROR
    for path, operations in result["paths"].items():
        for operation in operations.values():
            for status in _statuses(path, operation):
                operation["responses"].setdefault(status, _response(status, operation))
            if operation["operationId"] in _MODEL_OPERATIONS:
                operation["responses"]["429"] = _model_429()
                operation["responses"]["503"] = _with_examples(
                    "The model or a store is not available, or what the model answered cannot be used", _MODEL_503
                )
    return result


def _statuses(path: str, operation: dict[str, Any]) -> list[str]:
    statuses = ["500"]
    if "health" not in path:
        statuses += ["429", "503"]
    if {"accessToken": []} in operation.get("security", []):
        statuses.append("401")
    if "{" in path:
        statuses.append("404")
    if "requestBody" in operation:
        statuses += ["400", "413", "415", "422"]
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
        statuses.append("422")
    if any(one["in"] == "path" and one["schema"]["type"] == "integer" for one in operation.get("parameters", [])):
        statuses.append("422")
    statuses += _OF_OPERATION.get(operation["operationId"], [])
    return sorted(set(statuses))


def _model_429() -> dict[str, Any]:
    description = (
        "Too many requests, a budget without room (`context.budget`: `user_month`, `user_day`, `organization_month`, "
        "`organization_day`), the model's own quota, or too many replies or event streams of this account at once; see "
        "Retry-After"
    )
    return _with_examples(description, _MODEL_429)


def _with_examples(description: str, bodies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    examples = {name: {"value": {**body, "request_id": _REQUEST_ID}} for name, body in bodies.items()}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _validation_error(operation: dict[str, Any]) -> dict[str, str]:
    if "requestBody" in operation:
        return {"field": "body.email", "message": "Enter a valid email address."}
    for one in operation.get("parameters", []):
        if one["in"] == "query":
            integer = one["schema"].get("type") == "integer"
            message = "A valid integer is required." if integer else "Not a valid string."
            return {"field": f"query.{one['name']}", "message": message}
    return {"field": "path.id", "message": "A valid integer is required."}


def _response(status: str, operation: dict[str, Any]) -> dict[str, Any]:
    description, code, detail = _DESCRIPTIONS[status]
    example: dict[str, Any] = {"detail": detail, "code": code, "request_id": _REQUEST_ID}
    if status == "422":
        example["errors"] = [_validation_error(operation)]
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}
