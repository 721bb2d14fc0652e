"""Function calls through OpenAI's protocol."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from ai.gemini.request_json import NO_SIGNATURE
from ai.openai import signatures
from ai.openai.signatures import MAX_SIGNATURES, forget_signatures, keep_signatures, read_signatures
from ai.tests.openai_clients import CHAT, WEATHER, calling, client_of, user
from conftest import Person
from edgechat.stores.redis import redis_client

ModelCalls = Callable[[str], list[dict[str, Any]]]
BOTH = calling(("get_weather", {"city": "Zürich"}), ("get_weather", {"city": "Bern"}))


def signatures_in(call: dict[str, Any]) -> list[bytes | None]:
    """The signature of each function call in the contents that the model got."""
    parts = [part for content in call["contents"] for part in content["parts"] if "functionCall" in part]
    found = [part.get("thoughtSignature") for part in parts]
    return [None if one is None else base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)) for one in found]


def test_two_rounds_with_tools_keep_the_models_signature(alice: Person, model_calls: ModelCalls) -> None:
    marker = uuid.uuid4().hex
    with client_of(alice) as client:
        question: Any = [user(f"weather? {BOTH}")]
        tools: Any = {"tools": [WEATHER], "tool_choice": "required"}
        first = client.chat.completions.create(model="any", messages=question, **tools).choices[0]
        assert (first.finish_reason, first.message.content) == ("tool_calls", None)
        calls: Any = first.message.tool_calls
        asked = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls]
        assert [(name, arguments) for _, name, arguments in asked] == [
            ("get_weather", {"city": "Zürich"}),
            ("get_weather", {"city": "Bern"}),
        ]
        results = [{"role": "tool", "tool_call_id": call_id, "content": f"{marker} 7 °C"} for call_id, *_ in asked]
        rest: Any = [*question, first.message, *results]
        second = client.chat.completions.create(model="any", messages=rest, tools=tools["tools"]).choices[0]
        assert second.finish_reason == "stop"
        assert marker in (second.message.content or "")
    [call] = model_calls(marker)
    assert signatures_in(call) == [b"signature of get_weather", None]
    assert [content["role"] for content in call["contents"]] == ["user", "model", "user"]
    assert [part["functionResponse"]["name"] for part in call["contents"][2]["parts"]] == ["get_weather"] * 2
    [declared] = call["tools"][0]["functionDeclarations"]
    assert (declared["name"], declared["parametersJsonSchema"]["required"]) == ("get_weather", ["city"])
    assert call["tool_config"]["functionCallingConfig"]["mode"] == "AUTO"


def test_a_streamed_call_has_an_index(alice: Person) -> None:
    content = f"[[say=Let me see.]]{BOTH}"
    with client_of(alice) as client:
        made: Any = {"model": "any", "messages": [user(content)], "tools": [WEATHER]}
        deltas = [chunk.choices[0] for chunk in client.chat.completions.create(**made, stream=True)]
        with client.chat.completions.stream(**made) as stream:
            final = stream.get_final_completion().choices[0]
    calls = [call for choice in deltas for call in choice.delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 1]
    assert len({call.id for call in calls}) == 2
    assert "".join(choice.delta.content or "" for choice in deltas) == "Let me see."
    assert deltas[-1].finish_reason == final.finish_reason == "tool_calls"
    assert final.message.tool_calls is not None
    assert final.message.tool_calls[1].function.arguments == json.dumps({"city": "Bern"})


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
        ),
    ],
)
def test_a_tool_choice_is_passed_on(
    alice: Person, model_calls: ModelCalls, choice: Any, config: dict[str, Any]
) -> None:
    marker = uuid.uuid4().hex
    body = {"messages": [user(marker)], "tools": [WEATHER], "tool_choice": choice}
    assert alice.post(CHAT, json=body).status_code == 200
    [call] = model_calls(marker)
    assert call["tool_config"] == {"functionCallingConfig": config}


def test_calls_of_another_model_have_the_signature_that_stands_for_none(alice: Person, model_calls: ModelCalls) -> None:
    marker = uuid.uuid4().hex
    elsewhere = {"id": "call_elsewhere", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    history = [
        user("weather?"),
        {"role": "assistant", "content": None, "tool_calls": [elsewhere]},
        {"role": "tool", "tool_call_id": "call_elsewhere", "content": [{"type": "text", "text": marker}]},
    ]
    body = {"messages": history, "tools": [WEATHER]}
    assert alice.post(CHAT, json=body).status_code == 200
    [call] = model_calls(marker)
    assert signatures_in(call) == [NO_SIGNATURE]
    answer = alice.post(CHAT, json={**body, "messages": history[:2]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")


def called(call_id: str, name: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def result_of(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


@pytest.mark.parametrize(
    ("ids", "results"),
    [
        (("a", "b"), (("b", "second"), ("a", "first"))),
        # Some clients give all calls the same id.
        (("", ""), (("", "first"), ("", "second"))),
    ],
)
def test_results_belong_to_their_calls(
    alice: Person, model_calls: ModelCalls, ids: tuple[str, str], results: tuple[tuple[str, str], ...]
) -> None:
    marker = uuid.uuid4().hex
    calls = {"role": "assistant", "content": "", "tool_calls": [called(ids[0], "one"), called(ids[1], "two")]}
    body = {"messages": [user("x"), calls, *(result_of(which, f"{text} {marker}") for which, text in results)]}
    assert alice.post(CHAT, json=body).status_code == 200
    [call] = model_calls(marker)
    given = [part["functionResponse"] for part in call["contents"][2]["parts"]]
    assert {each["name"]: each["response"]["result"] for each in given} == {
        "one": f"first {marker}",
        "two": f"second {marker}",
    }


def test_one_result_twice_does_not_stand_for_a_missing_one(alice: Person) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [called("a", "one"), called("b", "two")]}
    answer = alice.post(CHAT, json={"messages": [user("x"), calls, result_of("a", "1"), result_of("a", "1")]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[3].tool_call_id")
    answer = alice.post(CHAT, json={"messages": [user("x"), calls, result_of("a", "1"), user("y")]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")


def test_signatures_are_bounded_expire_and_are_the_users_own(shared_servers: None) -> None:
    owner, other = (int(uuid.uuid4().int % 2**40) + 2**41 for _ in range(2))
    keep_signatures(owner, {"call_0": b"first", "call_big": b"x" * (signatures.MAX_SIGNATURE_BYTES + 1)})
    assert read_signatures(owner, ["call_0", "call_big", "call_é"]) == {"call_0": b"first"}
    assert read_signatures(other, ["call_0"]) == {}
    keep_signatures(owner, {f"call_{number}": b"s" for number in range(1, MAX_SIGNATURES + 1)})
    assert read_signatures(owner, ["call_0", "call_1"]) == {"call_1": b"s"}
    lifetimes = [redis_client().ttl(key) for key in signatures._keys(owner)]
    assert all(0 < seconds <= signatures.KEEP_SECONDS for seconds in lifetimes)
    forget_signatures(owner)
    assert read_signatures(owner, ["call_1"]) == {}
