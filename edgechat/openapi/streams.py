"""Streams of events in the OpenAPI file: each event's name as an enum, and whole streams as examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgechat.http.answer_bytes import encode_json
from edgechat.http.event_stream import PING, RETRY_MILLISECONDS, event
from edgechat.openapi.examples import ANSWER, example_of

_RETRY = b"retry: %d\n\n" % RETRY_MILLISECONDS
_HALF = ANSWER.index("that")
_RUNNING = {"content": "", "status": "generating", "finish_reason": None, "usage": None}


def add_streams(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular, after `postprocess_schema_enums`, which would move the names to components."""
    components = result["components"]["schemas"]
    for schema in list(components.values()):
        for name, reference in schema.get("discriminator", {}).get("mapping", {}).items():
            components[reference.rpartition("/")[2]]["properties"]["event"]["enum"] = [name]
    for methods in result["paths"].values():
        for method, operation in methods.items():
            content = operation["responses"].get("200", {}).get("content", {}).get("text/event-stream")
            if content:
                examples = _examples(content["schema"], components, operation, resumed=method == "get")
                content["examples"] = {
                    name: {"summary": summary, "value": value.decode()} for name, (summary, value) in examples.items()
                }
    return result


def _examples(
    schema: dict[str, Any], components: dict[str, Any], operation: dict[str, Any], *, resumed: bool
) -> dict[str, tuple[str, bytes]]:
    events = components[schema["$ref"].rpartition("/")[2]].get("discriminator", {}).get("mapping", {})
    if not events:
        return {"stream": ("A whole stream", b"".join(_chunks(components)))}
    data = {
        name: example_of(components[reference.rpartition("/")[2]]["properties"]["data"], components)
        for name, reference in events.items()
    }
    if "restart" not in events:
        progress = [event("progress", data["progress"])] if "progress" in data else []
        deltas = [event("delta", {"text": ANSWER[:_HALF]}), PING, event("delta", {"text": ANSWER[_HALF:]})]
        return {"stream": ("A whole stream", b"".join([_RETRY, *progress, *deltas, event("done", data["done"])]))}
    first = event("delta", {"text": ANSWER[:_HALF]}, event_id=f"1-{_HALF}")
    rest = event("delta", {"text": ANSWER[_HALF:]}, event_id=f"1-{len(ANSWER)}")
    done = event("done", data["done"], event_id="1-end")
    restarted = [
        event("restart", {}, event_id="2-0"),
        event("delta", {"text": ANSWER}, event_id=f"2-{len(ANSWER)}"),
        event("done", data["done"], event_id="2-end"),
    ]
    if resumed:
        return {
            "stream": (f"The rest of a stream, after `Last-Event-ID: 1-{_HALF}`", _RETRY + PING + rest + done),
            "restart": ("Another process has started the answer again", b"".join([_RETRY, *restarted])),
        }
    exchange = data["message"]
    exchange = exchange | {"model_message": exchange["model_message"] | _RUNNING}
    message = event("message", exchange, event_id="1-0")
    failures = operation["responses"]["503"]["content"]["application/json"]["examples"]
    error = {name: value for name, value in failures["model_unavailable"]["value"].items() if name != "context"}
    return {
        "stream": ("A whole stream", _RETRY + message + first + PING + rest + done),
        "restart": ("Another process starts the answer again", b"".join([_RETRY, message, first, *restarted])),
        "error": ("The model fails without a text", _RETRY + message + event("error", error, event_id="1-end")),
    }


def _chunks(components: dict[str, Any]) -> Iterator[bytes]:
    chunk = example_of({"$ref": "#/components/schemas/ChatChunkOutput"}, components)
    [choice] = chunk["choices"]
    texts: list[dict[str, Any]] = [{"role": "assistant", "content": ANSWER[:_HALF]}, {"content": ANSWER[_HALF:]}, {}]
    for delta in texts:
        reason = None if delta else "stop"
        body = chunk | {"choices": [choice | {"delta": delta, "finish_reason": reason}]}
        yield b"data: %s\n\n" % encode_json(body)
    yield b"data: [DONE]\n\n"
