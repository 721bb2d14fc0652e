"""The headers of answers, as the OpenAPI file has them."""

from __future__ import annotations

from typing import Any

REQUEST_ID = "X-Request-ID"
_TEXTS: dict[str, tuple[str, str]] = {
    REQUEST_ID: (
        "The id of the request in the logs: the client's own, or a new UUID.",
        "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11",
    ),
    "Retry-After": ("Whole seconds until it makes sense to try again.", "30"),
    "WWW-Authenticate": ("Always `Bearer`.", "Bearer"),
    "ETag": (
        "Identifies the content. Send it as `If-None-Match`, and an unchanged content is 304 without a body.",
        '"9f86d081"',
    ),
    "Cache-Control": ("How long the answer may be kept, and by whom.", "private, max-age=31536000, immutable"),
    "Accept-Ranges": ("Always `bytes`: a part can be requested with `Range`.", "bytes"),
    "Content-Range": ("The part that this is, and the size of the whole, in bytes.", "bytes 0-1023/284113"),
    "Content-Disposition": (
        "Whether to show or to save the file, and under which name.",
        'attachment; filename="6f0d8a52c1b94e7d9f3a2b17.json"',
    ),
    "Set-Cookie": ("A cookie for browsers, which scripts cannot read.", "device=…; HttpOnly; Path=/; SameSite=Lax"),
    "X-Accel-Buffering": ("Always `no`: a proxy passes each event on at once.", "no"),
    "x-should-retry": ("`false` if a retry cannot help. OpenAI's libraries obey it.", "false"),
}
# A status with several errors, of which only some have the header.
_SOMETIMES = ".sometimes"


def header_references(always: set[str], sometimes: set[str]) -> dict[str, Any]:
    """The headers of a response, besides the request's id, by name."""
    names = {name: name for name in {REQUEST_ID, *always}} | {name: name + _SOMETIMES for name in sometimes - always}
    return {name: {"$ref": f"#/components/headers/{names[name]}"} for name in _TEXTS if name in names}


def add_headers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: the components to which the responses refer."""
    components = result["components"]["headers"] = {}
    for name, (description, example) in _TEXTS.items():
        header: dict[str, Any] = {"description": description, "schema": {"type": "string"}, "example": example}
        if name == "Retry-After":
            header |= {"schema": {"type": "integer", "minimum": 1}, "example": 30}
        components[name] = header | {"required": True}
        components[name + _SOMETIMES] = header
    used = str(result["paths"])
    for name in list(components):
        if f"'#/components/headers/{name}'" not in used:
            del components[name]
    return result
