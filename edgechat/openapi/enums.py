"""The enums of the OpenAPI file: what their values mean, and the codes of all errors."""

from __future__ import annotations

from typing import Any

from edgechat.errors import ApiError
from edgechat.http.bodies import listed, open_enum

_MEANINGS: dict[str, dict[str, str]] = {
    "MessageOutputStatusEnum": {
        "complete": "The message is whole.",
        "generating": "The model is writing it.",
        "stopped": "The user has stopped it. The text until then is kept.",
        "interrupted": "The server has ended it, for instance when its process died. The text until then is kept.",
        "failed": "The model has failed. The text until then is kept; it can be answered again.",
        "blocked": "The model has withheld its answer, or the rest of it, on safety grounds.",
    },
    "MessageOutputRoleEnum": {"user": "The user's message.", "model": "The model's answer."},
    "ImportStatus": {
        "queued": "It waits for a server, or for another import of the user.",
        "running": "Its file is being read.",
        "finished": "The whole file was read.",
        "failed": "The file could not be read to its end. What was counted is imported.",
    },
    "ImportSource": {
        "chatgpt": "An export of ChatGPT.",
        "claude": "An export of Claude.",
        "edgechat": "Documents of the older EdgeChat.",
    },
    "RatingEnum": {"up": "A good answer.", "down": "A bad answer."},
    "StyleEnum": {"paragraph": "A text.", "bullets": "A list.", "headline": "One line."},
    "KindEnum": {"text": "A text.", "url": "A page of the web.", "conversation": "A conversation."},
    "UserRole": {"user": "Not staff.", "admin": "Staff."},
    "OrganizationRole": {
        "owner": "May do everything.",
        "admin": "Renames the organization, and manages members and admins.",
        "member": "Reads the shared conversations.",
    },
    "MemberStatus": {"active": "A member.", "invited": "An open invitation."},
    "ApiKeyScope": {"ai": "The calls below `/ai` and `/openai`.", "chat": "The calls below `/chat`."},
}


def describe_enums(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular, after `postprocess_schema_enums`, which moves the enums to components."""
    schemas = result["components"]["schemas"]
    for name, meanings in _MEANINGS.items():
        schemas[name]["description"] = listed({value: meanings[value] for value in schemas[name]["enum"]})
    schemas["NullEnum"]["description"] = "No value."
    codes = _codes(result["paths"])
    schemas["ErrorCode"] = {"type": "string", "enum": list(codes), "description": listed(codes)}
    for body in ("Error", "OpenAIErrorDetails"):
        code = schemas[body]["properties"]["code"]
        schemas[body]["properties"]["code"] = {"description": code["description"], **open_enum("ErrorCode")}
    return result


def _codes(paths: dict[str, Any]) -> dict[str, str]:
    """The code of each error that is published or has a class of its own, with its statuses and its text."""
    published: dict[str, set[int]] = {}
    for methods in paths.values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                for code in answer.get("x-codes", {}):
                    published.setdefault(code, set()).add(int(status))
    texts: dict[str, str] = {}
    waiting: list[type[ApiError]] = [ApiError]
    while waiting:
        error = waiting.pop(0)
        waiting += error.__subclasses__()
        texts.setdefault(error.code, error.detail)
        published.setdefault(error.code, {error.status})
    by_status = sorted(published, key=lambda code: (min(published[code]), code))
    return {code: f"{texts[code]} ({', '.join(map(str, sorted(published[code])))})." for code in by_status}
