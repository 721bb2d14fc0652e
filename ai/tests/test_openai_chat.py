"""POST /openai/v1/chat/completions and GET /openai/v1/models, with OpenAI's own library."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from django.conf import settings
from pydantic import BaseModel

from ai.fetch_url import Fetcher, PageRefused, fetch_file
from ai.openai.prompt import ContextTooLong
from ai.tests.openai_clients import CHAT, WEATHER, calling, client_of, data_url, user
from ai.tests.sites import Site, http
from conftest import Api, Person, at_once, new_address
from edgechat.tests.raw_client import RawClient
from edgechat.tests.web_settings import STRICT
from usage.models import Budget, LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]


def error_of(answer: httpx2.Response, status: int, kind: str, code: str, param: str | None = None) -> str:
    """The message of an error of this kind."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    message: str = error["message"]
    return message


def test_a_completion_is_openais_and_costs_one_ledger_row(alice: Person) -> None:
    key = alice.post("auth/api-keys", json={"name": "llm", "scopes": ["ai"]}).json()["key"]
    with client_of(alice, key=key) as client:
        made = client.chat.completions.create(model="any", messages=[user("Hello [[thoughts=7]][[cached=2]]")])
        assert [model.id for model in client.models.list()] == [settings.GEMINI_MODEL]
        assert client.models.retrieve(settings.GEMINI_MODEL).object == "model"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4o")
    [choice] = made.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Echo: Hello", "stop")
    assert choice.message.tool_calls is None
    assert (made.object, made.model, made.id[:9]) == ("chat.completion", settings.GEMINI_MODEL, "chatcmpl-")
    usage = made.usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 7
    assert usage.prompt_tokens_details.cached_tokens == 2
    [row] = LedgerEntry.objects.filter(user_id=alice.id)
    assert (row.purpose, row.input_tokens, row.output_tokens) == (
        "complete",
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("with_usage", [True, False])
def test_chunks_have_what_clients_check(alice: Person, with_usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    with client_of(alice) as client:
        stream = client.chat.completions.create(
            model="any", messages=[user("one two three [[chunks=3]][[gap=0.02]][[thoughts=3]]")], stream=True, **options
        )
        chunks: list[Any] = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    if with_usage:
        assert {chunk.usage for chunk in chunks[:-1]} == {None}
        last = chunks.pop()
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.completion_tokens_details is not None
        assert last.usage.completion_tokens_details.reasoning_tokens == 3
    else:
        assert {"usage" in chunk.model_fields_set for chunk in chunks} == {False}
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert len(choices) == len(chunks)
    assert all({"finish_reason", "index", "delta"} <= choice.model_fields_set for choice in choices)
    assert [choice.delta.role for choice in choices] == ["assistant", *[None] * (len(choices) - 1)]
    assert [choice.finish_reason for choice in choices] == [*[None] * (len(choices) - 1), "stop"]
    assert "".join(choice.delta.content or "" for choice in choices) == "Echo: one two three"


@pytest.mark.parametrize("content", ["Hello [[chunks=4]]", "[[empty=1]]", "[[block=partial]]some", "[[block=prompt]]"])
def test_a_stream_is_data_lines_and_done(alice: Person, content: str) -> None:
    """The tests' client validates each chunk."""
    body = {"messages": [user(content)], "stream": True, "stream_options": {"include_usage": True}}
    with alice.stream("POST", CHAT, json=body) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert {line[:6] for line in lines} == {"data: "}
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    blocked = "block" in content
    assert chunks[-2]["choices"][0]["finish_reason"] == ("content_filter" if blocked else "stop")
    plain = alice.post(CHAT, json={"messages": [user(content)]}).json()["choices"][0]
    assert plain["finish_reason"] == chunks[-2]["choices"][0]["finish_reason"]
    assert (plain["message"]["refusal"] is not None) == blocked


class Weather(BaseModel):
    city: str
    degrees: int


def test_the_librarys_helpers_and_its_async_client_work(alice: Person) -> None:
    with client_of(alice) as client:
        parsed = client.chat.completions.parse(model="any", messages=[user("weather")], response_format=Weather)
        assert parsed.choices[0].message.parsed == Weather(city="text", degrees=0)
        with client.chat.completions.stream(
            model="any", messages=[user("weather")], response_format=Weather, stream_options={"include_usage": True}
        ) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        assert {"chunk", "content.delta", "content.done"} <= kinds
        assert final.choices[0].message.parsed == Weather(city="text", degrees=0)

    async def ask() -> str:
        async with openai.AsyncOpenAI(
            base_url=f"{alice.origin}/api/v1/openai/v1",
            api_key=alice.tokens["access_token"],
            default_headers=new_address(),
            http_client=httpx2.AsyncClient(trust_env=False, timeout=60),
            max_retries=0,
        ) as client:
            stream: Any = await client.chat.completions.create(model="any", messages=[user("async")], stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == "Echo: async"


def test_what_the_model_takes_is_passed_on_and_nothing_else(alice: Person, model_calls: ModelCalls) -> None:
    marker = uuid.uuid4().hex
    body = {
        "model": "any",
        "messages": [
            {"role": "system", "content": "first"},
            {"role": "developer", "content": [{"type": "text", "text": "second"}]},
            user("question"),
            {"role": "assistant", "content": "answer", "refusal": None, "audio": None},
            user([{"type": "text", "text": marker}]),
        ],
        "temperature": 0,
        "top_p": 0.5,
        "seed": 2**40 + 3,
        "stop": ["END", "FIN"],
        "max_completion_tokens": 50,
        "presence_penalty": 1.5,
        "frequency_penalty": -1,
        "logit_bias": {"1": 2},
        "user": "x",
        "n": 1,
        "tools": None,
        "tool_choice": None,
        "response_format": {"type": "json_object"},
        "of_tomorrow": [{}],
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "reasoning_effort": "low",
        "stream_options": None,
    }
    assert alice.post(CHAT, json=body).status_code == 200
    [call] = model_calls(marker)
    assert call["system_instruction"]["parts"][0]["text"] == "first\n\nsecond"
    assert [content["role"] for content in call["contents"]] == ["user", "model", "user"]
    assert call["generation_config"] == {
        "temperature": 0,
        "topP": 0.5,
        "seed": 3,
        "stopSequences": ["END", "FIN"],
        "maxOutputTokens": 50,
        "responseMimeType": "application/json",
    }
    assert call["tools"] is None


STOPS: list[tuple[str | list[str], str]] = [
    ("three", "Echo: one two "),
    (["four", "two"], "Echo: one "),
    ("absent", "Echo: one two three four"),
]


def test_an_answer_ends_before_a_stop_text(alice: Person) -> None:
    for stop, told in STOPS:
        body = {"messages": [user("one two three four")], "stop": stop}
        [choice] = alice.post(CHAT, json=body).json()["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == (told, "stop")
    with client_of(alice) as client:
        asked = client.chat.completions.create(
            model="any", messages=[user("one two three four")], stop=["three"], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in asked) == "Echo: one two "


def test_a_limit_of_tokens_ends_with_length(alice: Person) -> None:
    made = alice.post(CHAT, json={"messages": [user("[[length=1000]]")], "max_tokens": 10}).json()
    assert made["choices"][0]["finish_reason"] == "length"
    only_system = alice.post(
        "openai/v1/chat/completions", json={"messages": [{"role": "system", "content": "alone"}]}
    ).json()
    assert only_system["choices"][0]["message"]["content"] == "Echo: alone"


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [user("")]}, "messages"),
    ({"messages": [{"role": "system", "content": ""}, user([])]}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"content": "hello"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "hello"}]}, "messages[0].role"),
    ({"messages": [user("hello"), user(5)]}, "messages[1].content"),
    ({"messages": [user([{"type": "input_audio", "input_audio": {}}])]}, "messages[0].content[0].type"),
    ({"messages": [user("\ud800")]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "1"}]}, "messages[0].tool_call_id"),
    ({"n": 2}, "n"),
    ({"temperature": 3}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"tools": [{"type": "web_search", "function": {"name": "x"}}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
    ({"tool_choice": {"type": "function", "function": {"name": "absent"}}}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}])]}, "url"),
    ({"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])]}, "url"),
    ({"messages": [user([{"type": "image_url", "image_url": {"url": "http://127.0.0.1:80/"}}])]}, "url"),
    ({"messages": [user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])]}, "url"),
    ({"messages": [user([{"type": "image_url", "image_url": data_url()}] * 11)]}, "messages"),
]


def test_a_faulty_request_is_400_and_names_the_parameter(alice: Person) -> None:
    json_type = {"Content-Type": "application/json"}
    for name in ("n", "seed", "tools", "response_format", "tool_choice"):
        body = {"messages": [user("hello")], name: "\ud800"}
        answer = alice.post(CHAT, content=json.dumps(body), headers=json_type)
        assert "Surrogate" in error_of(answer, 400, "invalid_request_error", "validation_error")
    for change, place in FAULTS:
        body = {"model": "any", "messages": [user("hello")], **change}
        answer = alice.post(CHAT, content=json.dumps(body), headers=json_type)
        param = "messages[0].content[0].image_url" if place == "url" else place
        message = error_of(answer, 400, "invalid_request_error", "validation_error", param)
        assert message.startswith(f"{param}: ")
        assert answer.headers["x-should-retry"] == "false"
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()


def test_every_error_below_the_path_has_openais_shape(alice: Person, anonymous: Api) -> None:
    faulty = "invalid_request_error"
    error_of(anonymous.post(CHAT, json={}), 401, "authentication_error", "not_authenticated")
    chat_key = alice.post("auth/api-keys", json={"name": "chat", "scopes": ["chat"]}).json()["key"]
    with alice.signed_in(chat_key) as api:
        message = error_of(api.post(CHAT, json={}), 403, "permission_error", "permission_denied")
        assert message == "This needs an API key with the scope ai"
    for path in ("openai/v1/embeddings", "openai/v1", "openai/nothing", "openai/v1/models/none"):
        error_of(alice.get(path), 404, faulty, "not_found")
    error_of(alice.get(CHAT), 405, faulty, "method_not_allowed")
    error_of(alice.post(CHAT, content=b"{"), 415, faulty, "unsupported_type")
    json_type = {"Content-Type": "application/json"}
    error_of(alice.post(CHAT, content=b"{", headers=json_type), 400, faulty, "malformed_json")
    error_of(alice.post(CHAT, content=b" " * (9 * 1024 * 1024), headers=json_type), 413, faulty, "too_large")
    long = alice.post(CHAT, json={"messages": [user("word " * 40_000)]})
    message = error_of(long, 400, faulty, ContextTooLong.code, "messages")
    assert "Input tokens exceed the configured limit" in message
    assert f"maximum context length is {settings.CONTEXT_MAX_TOKENS} tokens" in message


def test_the_librarys_retries_are_told_what_cannot_help(alice: Person) -> None:
    for content, status, kind, code, retry in (
        ("[[status=503]]", 503, "server_error", "model_unavailable", None),
        ("[[status=400]]", 503, "server_error", "model_unavailable", "false"),
        ("[[status=429]][[retry=7]]", 429, "rate_limit_error", "model_quota", None),
        ("[[status=429]][[retry=700]]", 429, "rate_limit_error", "model_quota", "false"),
    ):
        for stream in (False, True):
            answer = alice.post(CHAT, json={"messages": [user(content)], "stream": stream})
            error_of(answer, status, kind, code)
            assert answer.headers.get("x-should-retry") == retry


def test_a_spent_budget_is_429_that_the_library_does_not_retry(alice: Person) -> None:
    Budget.objects.create(user_id=alice.id, token_limit=1)
    with client_of(alice, max_retries=2) as client, pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="any", messages=[user("hello")])
    assert raised.value.code == "budget_exceeded"
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_an_error_in_mid_stream_is_a_data_line(alice: Person) -> None:
    content = "one two three four [[chunks=4]][[gap=0.05]][[error=500]][[error_at=2]]"
    stream = client_of(alice).chat.completions.create(model="any", messages=[user(content)], stream=True)
    with pytest.raises(openai.APIError) as raised:
        list(stream)
    assert raised.value.code == "model_unavailable"
    with alice.stream("POST", CHAT, json={"messages": [user(content)], "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert set(json.loads(lines[-1].removeprefix("data: "))) == {"error"}
    assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["content"].startswith("Echo")


@pytest.mark.parametrize("stream", [True, False])
def test_with_a_key_an_answer_outlives_its_client(
    alice: Person, model_calls: ModelCalls, eventually: Callable[..., Any], stream: bool
) -> None:
    marker = uuid.uuid4().hex
    body = {"messages": [user(f"[[chunks=8]][[gap=0.2]]a b c d e f g {marker}")], "stream": stream}
    with RawClient(alice.origin, token=alice.tokens["access_token"]) as client:
        data = json.dumps(body).encode()
        given: dict[str, Any] = {
            "Content_Type": "application/json",
            "Content_Length": len(data),
            "Idempotency_Key": "lost",
        }
        client.begin("POST", CHAT, data, **given)
        eventually(lambda: model_calls(marker))
    answer = alice.post(CHAT, json=body, headers={"Idempotency-Key": "lost"})
    assert answer.status_code == 200
    assert marker in answer.text
    assert [call["outcome"] for call in model_calls(marker)] == ["complete"]
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1


def test_too_many_requests_of_an_address_have_openais_shape(web_with: Callable[..., str]) -> None:
    with Api(web_with(**STRICT)) as api:
        answers = [api.get("openai/v1/models") for _ in range(6)]
    error_of(answers[-1], 429, "rate_limit_error", "rate_limited")
    assert answers[-1].headers["x-should-retry"] == "false"  # the window is ten minutes long


def test_the_end_of_a_key_ends_its_stream(alice: Person) -> None:
    made = alice.post("auth/api-keys", json={"name": "llm"}).json()
    body = {"messages": [user("[[chunks=600]][[gap=0.2]]" + "word " * 600)], "stream": True}
    with alice.signed_in(made["key"]) as api, api.stream("POST", CHAT, json=body) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
        assert alice.delete(f"auth/api-keys/{made['id']}").status_code == 204
        last = [line for line in lines if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "token_revoked"


def test_a_file_of_the_web_is_fetched_like_a_page() -> None:
    data = base64.b64decode(data_url().partition(",")[2])
    site = Site(lambda visit: visit.send(http(data, "image/png")))
    fetcher = Fetcher(
        resolve=lambda *_: ["127.0.0.1"], is_allowed=lambda _: True, ports=frozenset({site.port}), max_seconds=120
    )
    assert fetcher.download(f"http://pictures.example:{site.port}/a.png") == data
    with pytest.raises(PageRefused, match="Validation error"):
        replace(fetcher, max_bytes=len(data) - 1).download(f"http://pictures.example:{site.port}/a.png")
    with pytest.raises(PageRefused):
        fetch_file(f"http://127.0.0.1:{site.port}/a.png", max_bytes=100)
    site.close()


def test_a_picture_as_a_data_url_reaches_the_model(alice: Person) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data_url()}}]
    with client_of(alice) as client:
        made = client.chat.completions.create(model="any", messages=[user(parts)])
    content = made.choices[0].message.content
    assert content is not None
    assert content.startswith("Echo: What is this? [image 40x30 image/")


def test_an_idempotency_key_gives_the_same_answer_without_a_second_charge(alice: Person) -> None:
    completions = client_of(alice).chat.completions

    def ask(content: str, **options: Any) -> Any:
        key = {"Idempotency-Key": "key-1"}
        return completions.create(model="any", messages=[user(content)], extra_headers=key, **options)

    answers = at_once(3, lambda _: ask("once [[delay=0.5]]"))
    assert len({answer.id for answer in answers}) == 1
    assert ask("once [[delay=0.5]]") == answers[0]
    assert LedgerEntry.objects.filter(user_id=alice.id).count() == 1
    with pytest.raises(openai.ConflictError) as raised:
        ask("another")
    assert raised.value.code == "idempotency_conflict"
    assert raised.value.response.headers["x-should-retry"] == "false"
    headers = {"Idempotency-Key": "key-2"}
    body = {"messages": [user(f"streamed {calling(('get_weather', {}))}")], "tools": [WEATHER], "stream": True}
    first, second = (alice.post(CHAT, json=body, headers=headers).text.splitlines() for _ in range(2))
    assert second == first
    assert "get_weather" in first[0]
    assert alice.post(CHAT, json={"messages": [user("x")]}, headers={"Idempotency-Key": ""}).status_code == 400
