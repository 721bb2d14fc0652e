"""The example of each body in JSON, composed from examples of its fields.

A field's own `Keywords(example=…)` wins over this page, and `Component.field` over `field`.
"""

from __future__ import annotations

from typing import Any

from edgechat import __version__

_ID = "6f0d8a52c1b94e7d9f3a2b17"
_MESSAGE_ID = f"{_ID}:00000002"
_REQUEST_ID = "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11"
_TIME = "2026-03-01T09:30:00Z"

_TYPE_FAULTS = {
    "integer": "A valid integer is required.",
    "boolean": "Must be a valid boolean.",
    "string": "Not a valid string.",
}
CHOICE_FAULT = '"poem" is not a valid choice.'
# What the model answers.
ANSWER = "A lease is a lock that ends by itself."

_FIELDS: dict[str, Any] = {
    "id": 42,
    "user_id": 42,
    "email": "ann@example.com",
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2ln",
    "device_token": "eyJ1c2VyIjo0Mn0:1vOZ1y:c2lnbmVk",
    "token_type": "bearer",
    "expires_in": 900,
    "full_name": "Ann Lee",
    "is_active": True,
    "is_verified": True,
    "role": "user",
    "password": "correct horse battery",
    "refresh_token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.Z25z",
    "token": "v1.Zm9yZ290.c2lnbmVk",
    "RegisterInput.device_name": "Ann's phone",
    "LoginInput.device_name": "Ann's phone",
    "PatchedProfileInput.full_name": "Ann Lee",
    "PatchedUserChange.is_active": False,
    "SessionOutput.id": "7d0ed2fb-3f7e-4f0c-8a0b-6a4de1a3f0d2",
    "SessionOutput.device_name": "Ann's phone",
    "SessionOutput.user_agent": "EdgeChat/2.1 (Android 16)",
    "SessionOutput.ip": "203.0.113.7",
    "SessionOutput.current": True,
    "sessions_ended": 3,
    "ApiKeyInput.name": "Backup script",
    "ApiKeyInput.scopes": ["chat"],
    "ApiKeyOutput.id": "0d3c6f4e-2b1a-4c5d-9e8f-7a6b5c4d3e2f",
    "ApiKeyOutput.name": "Backup script",
    "NewApiKeyOutput.id": "0d3c6f4e-2b1a-4c5d-9e8f-7a6b5c4d3e2f",
    "NewApiKeyOutput.name": "Backup script",
    "prefix": "ec_kT3wQ9x",
    "key": "ec_kT3wQ9xZr1mYb7Vd2nLs5Hc8Jf0Pg4Wa6Ue-Xi_Ko3M",
    "scopes": ["chat"],
    "LogoutOutput.message": "Successfully logged out",
    "LogoutAllOutput.message": "Successfully logged out",
    "ResetOutput.message": "The password was changed",
    "SignupOutput.message": "User created successfully",
    # Organizations
    "OrganizationInput.name": "Lighthouse Ltd",
    "OrganizationOutput.name": "Lighthouse Ltd",
    "InvitingOrganizationOutput.name": "Lighthouse Ltd",
    "OrganizationOutput.role": "owner",
    "MemberOutput.role": "member",
    "MemberOutput.status": "active",
    "InvitationOutput.id": "12",
    "InvitationOutput.role": "member",
    "MemberOutput.invitation_id": None,
    "PatchedOrganizationInput.name": "Lighthouse Ltd",
    "PatchedRoleInput.role": "admin",
    # Chat
    "ConversationInput.title": "Travel plans",
    "PatchedConversationChange.pinned": True,
    "MessageInput.content": "Hello! Who are you?",
    "MessageInput.client_message_id": "7f3c",
    "RegenerateInput.content": "Hello! What can you do?",
    "FeedbackInput.rating": "up",
    "FeedbackInput.comment": "Short and right",
    "ConversationOutput.id": _ID,
    "ConversationOutput.title": "Leases in distributed systems",
    "conversation_id": _ID,
    "message_id": _MESSAGE_ID,
    "deleted": ["0e4b7a90d3c25f186a7b8c9d"],
    "next_since": 118,
    "message_count": 2,
    "last_seq": 2,
    "MessageOutput.id": _MESSAGE_ID,
    "MessageOutput.role": "model",
    "MessageOutput.status": "complete",
    "MessageOutput.feedback": None,
    "seq": 2,
    "content": ANSWER,
    "finish_reason": "STOP",
    "attachments": [],
    "variants": [],
    "ExchangeOutput.user_message": {
        "id": f"{_ID}:00000001",
        "seq": 1,
        "role": "user",
        "content": "What is a lease?",
        "client_message_id": "5c1d7f7e-9a3f-4a53-8a2e-0a4f3e6f6b0e",
        "finish_reason": None,
        "usage": None,
    },
    "snippet": ANSWER,
    "SearchResultOutput.title": "Leases in distributed systems",
    "TodoInput.title": "Book the ferry",
    "TodoChange.completed": True,
    "PatchedTodoChange.completed": True,
    "TodoOutput.title": "Send the report to Ben",
    "TodoOutput.description": "He asked for it by Friday.",
    "limit": 500,
    "ImportOutput.id": "5b0e7d0a-9f0c-4c64-8f39-0f4f7a4f7c0e",
    "ImportOutput.status": "running",
    "ImportOutput.source": "chatgpt",
    "progress": 40,
    "ImportCounts.conversations": 412,
    "ImportCounts.messages": 5210,
    "skipped": 3,
    "report": ["3 conversations are here from an earlier import, and were not changed."],
    # Pictures
    "AttachmentOutput.id": "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11",
    "ImageOutput.id": None,
    "mime_type": "image/jpeg",
    "width": 1600,
    "height": 1200,
    "bytes": 284113,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    # The model
    "prompt": "What is a lease?",
    "SummarizeInput.url": "https://example.com/",
    "SummarizeInput.style": "bullets",
    "SummarizeInput.max_words": 60,
    "SummarizeInput.language": "German",
    "text": ANSWER,
    "VisionOutput.text": "A whiteboard with three dates.",
    "model": "gemini-3.5-flash-lite",
    "ModelOutput.name": "gemini-3.5-flash-lite",
    "input_token_limit": 1048576,
    "output_token_limit": 65536,
    "summary": "A lease is a lock with an end, so that a dead owner keeps nobody waiting.",
    "SourceOutput.kind": "url",
    "SourceOutput.url": "https://example.com/leases",
    "SourceOutput.title": "Leases",
    "words": 1840,
    "input_tokens": 12,
    "output_tokens": 11,
    "total_tokens": 23,
    "cached_tokens": 0,
    "thinking_tokens": 0,
    "ProgressOutput.done": 1,
    "ProgressOutput.total": 4,
    # OpenAI's protocol
    "ChatChunkOutput.id": "chatcmpl-6f0d8a52c1b94e7d9f3a2b17",
    "ChatChunkOutput.object": "chat.completion.chunk",
    "ChunkChoiceOutput.index": 0,
    "ChunkChoiceOutput.delta": {},
    "ChunkChoiceOutput.finish_reason": None,
    "Error.detail": "Internal server error",
    "code": "internal_error",
    "request_id": _REQUEST_ID,
    "ChatCompletionOutput.id": "chatcmpl-6f0d8a52c1b94e7d9f3a2b17",
    "ChatCompletionOutput.object": "chat.completion",
    "created": 1772357400,
    "ChatChoiceOutput.index": 0,
    "ChatChoiceOutput.finish_reason": "stop",
    "ChatMessageOutput.role": "assistant",
    "prompt_tokens": 12,
    "completion_tokens": 11,
    "reasoning_tokens": 0,
    "OpenAIModelsOutput.object": "list",
    "OpenAIModelOutput.object": "model",
    "OpenAIModelOutput.id": "gemini-3.5-flash-lite",
    "OpenAIModelOutput.created": 0,
    "owned_by": "google",
    # Usage
    "date": "2026-03-01",
    "requests": 17,
    "input": 1200,
    "output": 3400,
    "total": 4600,
    "last_24h": 900,
    "last_7d": 4600,
    "QuotaOutput.limit": 100000,
    "used": 4600,
    "QuotaOutput.remaining": 95400,
    "QuotaOutput.resets_at": "2026-04-01T00:00:00Z",
    "total_requests": 120,
    "requests_last_24h": 17,
    "requests_last_7d": 120,
    # Health
    "status": "ok",
    "Overview.status": "healthy",
    "version": __version__,
    "environment": "production",
    "app": "EdgeChat Backend",
    "database": "connected",
    "mongo": "connected",
    "redis": "connected",
    "AnswerOutput.message": "If the address is right, the e-mail is on its way",
}


def add_examples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: compose the examples of JSON bodies that have none, and complete those of errors."""
    components = result["components"]["schemas"]
    for methods in result["paths"].values():
        for operation in methods.values():
            bodies = operation["responses"] | {"request": operation.get("requestBody", {})}
            for status, body in bodies.items():
                content = body.get("content", {}).get("application/json")
                if content and not content.keys() & {"example", "examples"}:
                    example = example_of(content["schema"], components)
                    content["example"] = _without_store(example) if status == "503" else example
            for body in operation["responses"].values():
                for code, context in body.get("x-codes", {}).items():
                    error = body["content"]["application/json"]["examples"][code]["value"]
                    if context is not None and not context.get("nullable"):
                        error["context"] = _context(context, components)
                    if code == "validation_error":
                        _add_fault(error, operation, components)
    return result


def _context(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    context = example_of(schema, components)
    if "model_message" in context:  # of a reply that has failed
        failed = {"content": "", "status": "failed", "finish_reason": None, "usage": None}
        context["model_message"] = context["model_message"] | failed
    return context


def _add_fault(error: dict[str, Any], operation: dict[str, Any], components: dict[str, Any]) -> None:
    """A fault of one of the operation's fields: the first that a client can get wrong."""
    field, message = _fault(operation, components)
    if "error" in error:
        error["error"] |= {"message": f"{field.partition('.')[2]}: {message}", "param": field.partition(".")[2]}
    else:
        error["errors"] = [{"field": field, "message": message}]


def _fault(operation: dict[str, Any], components: dict[str, Any]) -> tuple[str, str]:
    if "requestBody" in operation:
        kind, content = next(iter(operation["requestBody"]["content"].items()))
        schema = content["schema"]
        schema = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if "email" in schema["properties"] and schema["properties"]["email"].get("format") == "email":
            return "body.email", "Enter a valid email address."
        if kind == "multipart/form-data":
            name = schema["required"][0]
            return f"body.{name}", "One file is required." if name == "file" else "From 1 to 5 pictures are needed."
        if "required" in schema:
            return f"body.{schema['required'][0]}", "This field is required."
        name, field = next(iter(schema["properties"].items()))
        return f"body.{name}", _TYPE_FAULTS.get(field.get("type"), CHOICE_FAULT)
    queries = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    for one in sorted(queries, key=lambda one: not one.get("required")):
        if one.get("required"):
            return f"query.{one['name']}", "This field is required."
        fault = CHOICE_FAULT if "enum" in one["schema"] else _TYPE_FAULTS[one["schema"]["type"]]
        return f"query.{one['name']}", fault
    return "path.id", "A valid integer is required."


def _without_store(health: dict[str, Any]) -> dict[str, Any]:
    """The body of a health check whose store does not answer."""
    if "checks" in health:
        return {"status": "not ready", "checks": {**health["checks"], "mongo": "error"}}
    away = {"ok": "error", "healthy": "unhealthy", "connected": "error"}
    return {field: away.get(value, value) for field, value in health.items()}


def example_of(schema: dict[str, Any], components: dict[str, Any], name: str = "", more: Any = None) -> Any:
    """The example of a schema; `name` is that of its component, `more` has fields that differ from the usual ones."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(components[name], components, name, more)
    if "allOf" in schema:
        return example_of(schema["allOf"][0], components, name, more)
    if "properties" in schema:
        required = schema.get("required", ())
        fields = {
            field: _field(f"{name}.{field}", each, components)
            for field, each in schema["properties"].items()
            if field in required or "example" in each or f"{name}.{field}" in _FIELDS
        }
        return fields | (more or {})
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("nullable"):
        return None
    match schema.get("type"):
        case "boolean":
            return False
        case "array":
            return [example_of(schema["items"], components)]
        case "string" if schema.get("format") == "date-time":
            return _TIME
    raise LookupError(f"{name} needs an example")


def _field(path: str, schema: dict[str, Any], components: dict[str, Any]) -> Any:
    if "example" in schema:
        return schema["example"]
    for known in (path, path.rpartition(".")[2]):
        if known in _FIELDS:
            value = _FIELDS[known]
            return example_of(schema, components, path, value) if isinstance(value, dict) else value
    return example_of(schema, components, path)
