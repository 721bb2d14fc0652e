"""Every directive of the scripted model, through the real SDK."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from edgechat.local.tests.test_model_server_process import ModelServerProcess, wait_for

MODEL = "gemini-3.5-flash-lite"
PNG_3X2 = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x03\x00\x00\x00\x02\x08\x02\x00\x00\x00\x12\x16\xf1M"
    b"\x00\x00\x00\x0cIDATx\x9cc`\xc0\x05\x00\x00\x14\x00\x01\xf4\x9a_\xae\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    process = ModelServerProcess(tmp_path_factory.mktemp("scripted"), "--scripted")
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def client(server: ModelServerProcess) -> Iterator[genai.Client]:
    with genai.Client(api_key="none", http_options=types.HttpOptions(base_url=server.url, timeout=20_000)) as made:
        yield made


@pytest.fixture
def mark() -> str:
    """A word that is in no other call's text."""
    return f"mark-{uuid.uuid4().hex}"


def ask(client: genai.Client, contents: Any, **config: Any) -> types.GenerateContentResponse:
    return client.models.generate_content(
        model=MODEL, contents=contents, config=types.GenerateContentConfig(**config) if config else None
    )


def stream(client: genai.Client, contents: Any, **config: Any) -> Iterator[types.GenerateContentResponse]:
    return client.models.generate_content_stream(
        model=MODEL, contents=contents, config=types.GenerateContentConfig(**config) if config else None
    )


def counts(response: types.GenerateContentResponse) -> tuple[int | None, int | None, int | None]:
    usage = response.usage_metadata
    assert usage is not None
    return usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count


def finish_reason(response: types.GenerateContentResponse) -> types.FinishReason | None:
    assert response.candidates
    return response.candidates[0].finish_reason


def test_it_echoes_the_last_user_text_and_counts_tokens(client: genai.Client) -> None:
    response = ask(client, "Hello there, model")  # 18 characters
    assert response.text == "Echo: Hello there, model"  # 24 characters
    assert counts(response) == (5, 6, 11)
    assert finish_reason(response) == types.FinishReason.STOP
    assert response.model_version == "local-scripted"
    assert response.response_id


def test_a_stream_has_word_groups_cumulative_counts_and_one_finish_reason(client: genai.Client) -> None:
    parts = list(stream(client, "one two three four five six seven"))
    assert [part.text for part in parts] == ["Echo: one", " two three four", " five six seven"]
    assert [finish_reason(part) for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert finish_reason(parts[-1]) == types.FinishReason.STOP
    output = [counts(part)[1] or 0 for part in parts]
    assert output == sorted(output)
    assert counts(parts[-1]) == (9, 10, 19)
    assert len({part.response_id for part in parts}) == 1


def test_only_the_last_user_turn_is_echoed_and_searched_for_directives(client: genai.Client) -> None:
    turns = [
        types.Content(role="user", parts=[types.Part(text="old [[status=503]]")]),
        types.Content(role="model", parts=[types.Part(text="fine [[status=500]]")]),
        types.Content(role="user", parts=[types.Part(text="new")]),
    ]
    response = ask(client, turns, system_instruction="[[status=400]]")
    assert response.text == "Echo: new"
    assert counts(response)[0] == -(-(18 + 19 + 3 + 14) // 4)


def test_count_tokens_agrees_with_the_prompt_count_of_an_answer(client: genai.Client) -> None:
    text = "How many tokens are these?"
    assert client.models.count_tokens(model=MODEL, contents=text).total_tokens == counts(ask(client, text))[0] == 7


def test_the_models_say_that_they_are_local(client: genai.Client) -> None:
    models = list(client.models.list())
    assert [model.name for model in models] == ["models/local-scripted"]
    assert models[0].supported_actions == ["generateContent", "streamGenerateContent", "countTokens"]
    assert models[0].input_token_limit == 1_048_576
    assert models[0].output_token_limit == 65_536
    assert client.models.get(model=MODEL).name == "models/local-scripted"


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("colon", [":", "%3A"])
def test_both_versions_and_both_colons_are_served(server: ModelServerProcess, version: str, colon: str) -> None:
    answer = httpx2.post(
        f"{server.url}/{version}/models/{MODEL}{colon}generateContent", json={"contents": [{"parts": [{"text": "hi"}]}]}
    )
    assert answer.status_code == 200
    assert answer.json()["candidates"][0]["content"] == {"role": "model", "parts": [{"text": "Echo: hi"}]}


def test_a_stream_without_alt_sse_is_a_json_list(server: ModelServerProcess) -> None:
    answer = httpx2.post(
        f"{server.url}/v1beta/models/{MODEL}:streamGenerateContent",
        json={"contents": [{"parts": [{"text": "hi [[chunks=3]]"}]}]},
    )
    assert len(answer.json()) == 3


def test_delay_holds_back_even_the_head(server: ModelServerProcess, client: genai.Client, mark: str) -> None:
    began = time.monotonic()
    assert ask(client, f"{mark} [[delay=0.3]]").text == f"Echo: {mark}"
    assert time.monotonic() - began >= 0.3
    call = server.call_with(mark)
    assert call["first_byte_at"] - call["received_at"] >= 0.3


def test_chunks_and_gap_shape_a_stream(server: ModelServerProcess, client: genai.Client, mark: str) -> None:
    began = time.monotonic()
    parts = list(stream(client, f"{mark} [[chunks=20]][[gap=0.02]]"))
    assert time.monotonic() - began >= 19 * 0.02
    assert len(parts) == 20
    assert "".join(part.text or "" for part in parts) == f"Echo: {mark}"
    call = server.call_with(mark)
    assert call["chunks_sent"] == 20
    assert len(call["chunk_times"]) == 20
    assert call["chunk_times"][-1] - call["chunk_times"][0] >= 18 * 0.02


def test_more_chunks_than_characters_are_empty_ones(client: genai.Client) -> None:
    parts = list(stream(client, "[[say=ab]][[chunks=5]]"))
    assert len(parts) == 5
    assert "".join(part.text or "" for part in parts) == "ab"


def test_length_gives_that_many_characters_also_beyond_ascii(client: genai.Client) -> None:
    whole = ask(client, "[[length=5000]]").text
    streamed = "".join(part.text or "" for part in stream(client, "[[length=5000]][[chunks=77]]"))
    assert whole is not None
    assert len(whole) == 5000
    assert streamed == whole
    assert {len(character.encode()) for character in whole} == {1, 2, 3, 4}


def test_say_is_percent_decoded_and_exact(client: genai.Client) -> None:
    assert ask(client, "ignored [[say=100%25 %5B%5Bexact%5D%5D%0A 🚀 ]]").text == "100% [[exact]]\n 🚀 "


def test_empty_is_an_answer_without_text(client: genai.Client) -> None:
    for response in (ask(client, "[[empty=1]]"), *stream(client, "[[empty=1]]")):
        assert response.text is None
        assert finish_reason(response) == types.FinishReason.STOP


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "INVALID_ARGUMENT", errors.ClientError),
        (401, "UNAUTHENTICATED", errors.ClientError),
        (403, "PERMISSION_DENIED", errors.ClientError),
        (404, "NOT_FOUND", errors.ClientError),
        (429, "RESOURCE_EXHAUSTED", errors.ClientError),
        (500, "INTERNAL", errors.ServerError),
        (503, "UNAVAILABLE", errors.ServerError),
        (504, "DEADLINE_EXCEEDED", errors.ServerError),
    ],
)
def test_status_is_geminis_error(
    server: ModelServerProcess, client: genai.Client, mark: str, status: int, name: str, kind: type[errors.APIError]
) -> None:
    with pytest.raises(kind) as raised:
        ask(client, f"{mark} [[status={status}]]")
    assert (raised.value.code, raised.value.status) == (status, name)
    assert raised.value.message
    call = server.call_with(mark)
    assert (call["outcome"], call["chunks_sent"], call["output_tokens"]) == ("error", 0, 0)


def test_status_comes_before_a_stream(client: genai.Client) -> None:
    with pytest.raises(errors.ServerError) as raised:
        next(iter(stream(client, "[[status=503]]")))
    assert raised.value.code == 503


def test_retry_is_a_google_retry_info_beside_the_quota_failure(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as raised:
        ask(client, "[[status=429]][[retry=7]]")
    details = raised.value.details["error"]["details"]
    assert [detail["@type"] for detail in details] == [
        "type.googleapis.com/google.rpc.QuotaFailure",
        "type.googleapis.com/google.rpc.RetryInfo",
    ]
    assert details[1]["retryDelay"] == "7s"


def test_a_blocked_prompt_has_no_candidates(client: genai.Client) -> None:
    for response in (ask(client, "[[block=prompt]]"), *stream(client, "[[block=prompt]]")):
        assert not response.candidates
        assert response.text is None
        assert response.prompt_feedback is not None
        assert response.prompt_feedback.block_reason == types.BlockedReason.SAFETY


def test_a_blocked_answer_has_no_text(client: genai.Client) -> None:
    response = ask(client, "[[block=answer]]")
    assert response.text is None
    assert finish_reason(response) == types.FinishReason.SAFETY


def test_a_partly_blocked_answer_has_its_text_and_ends_with_safety(client: genai.Client) -> None:
    parts = list(stream(client, "a b c d e f [[block=partial]]"))
    assert "".join(part.text or "" for part in parts) == "Echo: a b c d e f"
    assert finish_reason(parts[-1]) == types.FinishReason.SAFETY


@pytest.mark.parametrize(("by", "fault"), [("reset", httpx2.ReadError), ("close", httpx2.RemoteProtocolError)])
@pytest.mark.parametrize("chunks", [0, 3, 10])
def test_cut_ends_a_stream_after_so_many_chunks(
    server: ModelServerProcess, client: genai.Client, mark: str, by: str, fault: type[Exception], chunks: int
) -> None:
    seen: list[str | None] = []
    script = f"{mark} [[say=0123456789]][[chunks=10]][[gap=0.01]][[cut={chunks}]][[cut_by={by}]]"
    with pytest.raises(fault):
        seen.extend(part.text for part in stream(client, script))
    assert seen == list("0123456789")[:chunks]
    call = server.call_with(mark)
    assert (call["outcome"], call["chunks_sent"]) == ("cut", chunks)
    assert call["output_tokens"] == -(-chunks // 4)


@pytest.mark.parametrize("chunks", [0, 1])
def test_cut_ends_a_whole_answer_in_its_body(client: genai.Client, chunks: int) -> None:
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        ask(client, f"hello [[cut={chunks}]]")


@pytest.mark.parametrize("kind", [1, 2])
def test_rubbish_is_no_answer_that_the_sdk_can_read(client: genai.Client, kind: int) -> None:
    for call in (ask, lambda *arguments: list(stream(*arguments))):
        with pytest.raises((ValueError, errors.UnknownApiResponseError)):
            call(client, f"[[rubbish={kind}]]")


def test_rubbish_3_is_an_answer_with_nothing_in_it(client: genai.Client) -> None:
    response = ask(client, "[[rubbish=3]]")
    assert (response.candidates, response.usage_metadata) == (None, None)


def test_a_hanging_call_runs_into_the_clients_timeout_and_is_seen_to_be_gone(
    server: ModelServerProcess, mark: str
) -> None:
    with (
        genai.Client(api_key="x", http_options=types.HttpOptions(base_url=server.url, timeout=300)) as impatient,
        pytest.raises(httpx2.ReadTimeout),
    ):
        ask(impatient, f"{mark} [[hang=60]]")
    call = server.call_with(mark)
    assert call["outcome"] == "client_gone"
    assert call["first_byte_at"] is None
    assert call["ended_at"] - call["received_at"] < 10


def test_hang_drops_the_connection_after_its_time(client: genai.Client) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(client, "[[hang=0.1]]")


def test_finish_thoughts_and_cached_are_told(client: genai.Client) -> None:
    response = ask(client, "hello [[finish=RECITATION]][[thoughts=50]][[cached=10]]")
    assert finish_reason(response) == types.FinishReason.RECITATION
    usage = response.usage_metadata
    assert usage is not None
    assert (usage.thoughts_token_count, usage.cached_content_token_count) == (50, 10)
    assert counts(response) == (14, 3, 14 + 3 + 50)


def test_nousage_leaves_the_counts_out(client: genai.Client) -> None:
    assert [part.usage_metadata for part in stream(client, "a b c d [[nousage=1]]")] == [None] * 2
    assert ask(client, "[[nousage=1]]").usage_metadata is None


def test_fail_first_fails_the_first_calls_of_its_key_only(client: genai.Client, mark: str) -> None:
    outcomes = []
    for key in (mark, mark, f"{mark}-other", mark):
        try:
            outcomes.append(ask(client, f"x [[fail_first=2]][[key={key}]]").text)
        except errors.ServerError as fault:
            outcomes.append(str(fault.code))
    assert outcomes == ["503", "503", "503", "Echo: x"]


@pytest.mark.parametrize(
    "directive", ["staus=503", "status=abc", "status=200", "block=all", "delay=-1", "fail_first=1"]
)
def test_a_mistyped_directive_is_a_400_that_names_it(client: genai.Client, directive: str) -> None:
    with pytest.raises(errors.ClientError) as raised:
        ask(client, f"[[{directive}]]")
    assert raised.value.code == 400
    assert directive.split("=", maxsplit=1)[0] in (raised.value.message or "")


def test_max_output_tokens_cuts_the_echo(client: genai.Client) -> None:
    response = ask(client, "[[length=100]]", max_output_tokens=5)
    assert len(response.text or "") == 20
    assert finish_reason(response) == types.FinishReason.MAX_TOKENS
    assert counts(response)[1] == 5


def test_a_schema_gets_the_smallest_json_that_fits_it(client: genai.Client) -> None:
    class Item(BaseModel):
        title: str
        count: int
        note: str | None
        kind: types.Modality

    response = ask(client, "x", response_mime_type="application/json", response_schema=list[Item])
    assert isinstance(response.parsed, list)
    assert isinstance(response.parsed[0], Item)
    assert response.parsed[0].title == "text"
    said = ask(client, "[[say=not json]]", response_mime_type="application/json", response_schema=Item)
    assert said.text == "not json"


def test_pictures_are_named_at_the_end_of_the_echo(client: genai.Client) -> None:
    picture = types.Part.from_bytes(data=PNG_3X2, mime_type="image/png")
    broken = types.Part.from_bytes(data=b"12345", mime_type="image/jpeg")
    response = ask(client, ["see", picture, broken])
    assert response.text == f"Echo: see [image 3x2 image/png bytes={len(PNG_3X2)}] [image image/jpeg bytes=5]"
    assert counts(response)[0] == 1 + 2 * 258


def test_the_record_has_the_whole_request(server: ModelServerProcess, client: genai.Client, mark: str) -> None:
    turns = [
        types.Content(role="user", parts=[types.Part(text="first")]),
        types.Content(role="model", parts=[types.Part(text="answer")]),
        types.Content(role="user", parts=[types.Part(text=f"{mark} [[thoughts=4]]")]),
    ]
    ask(client, turns, system_instruction="be kind", temperature=0.5, max_output_tokens=100)
    call = server.call_with(mark)
    assert [content["parts"][0]["text"] for content in call["contents"]] == [
        "first",
        "answer",
        f"{mark} [[thoughts=4]]",
    ]
    assert call["system_instruction"]["parts"] == [{"text": "be kind"}]
    assert call["generation_config"] == {"temperature": 0.5, "maxOutputTokens": 100}
    assert call["text"] == f"{mark} [[thoughts=4]]"
    assert call["model"] == MODEL
    assert call["path"] == f"/v1/models/{MODEL}:generateContent"
    assert (call["outcome"], call["thoughts_tokens"], call["chunks_sent"]) == ("complete", 4, 1)
    assert call["received_at"] <= call["first_byte_at"] <= call["ended_at"]


def test_a_client_that_leaves_a_stream_is_noticed_between_two_chunks(server: ModelServerProcess, mark: str) -> None:
    with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=server.url)) as leaving:
        chunks = stream(leaving, f"{mark} [[say=abcdefgh]][[chunks=2]][[gap=60]]")
        assert next(iter(chunks)).text == "abcd"
    call = server.call_with(mark)
    assert (call["outcome"], call["chunks_sent"], call["output_tokens"]) == ("client_gone", 1, 1)


def test_totals_count_what_was_billed_and_delete_starts_afresh(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = ModelServerProcess(tmp_path_factory.mktemp("totals"), "--scripted")
    try:
        with genai.Client(api_key="x", http_options=types.HttpOptions(base_url=alone.url)) as client:
            ask(client, "12345678 [[say=abcdefgh]]")  # 25 characters
            with pytest.raises(errors.ServerError):
                ask(client, "x [[status=503]]")
            with pytest.raises(httpx2.ReadError):
                list(stream(client, "cut-here [[say=abcdefgh]][[chunks=2]][[cut=1]]"))  # 46 characters
        alone.call_with("cut-here")
        assert alone.get("/scripted/totals") == {
            "calls": 3,
            "billed_calls": 2,
            "prompt_tokens": 7 + 12,
            "output_tokens": 2 + 1,
            "thoughts_tokens": 0,
            "running": 0,
        }
        urllib.request.urlopen(
            urllib.request.Request(f"{alone.url}/scripted/calls", method="DELETE"), timeout=10
        ).close()
        assert alone.get("/scripted/calls") == {"calls": []}
        assert alone.get("/scripted/totals")["calls"] == 0
    finally:
        assert alone.stop() == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/v1beta/models/m:generateContent", b"{", 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/m:generateContent", b"[]", 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/m:generateContent", b"{}", 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/m:generateContent", b'{"contents":[{"role":"robot","parts":[]}]}', 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/m:generateContent", b'{"contents":[{"parts":[{"fileData":{}}]}]}', 400, "INVALID_ARGUMENT"),
        (
            "/v1beta/models/m:generateContent",
            b'{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"temperature":9}}',
            400,
            "INVALID_ARGUMENT",
        ),
        ("/v1beta/models/m:embedContent", b"{}", 404, "NOT_FOUND"),
        ("/v1beta/models", b"{}", 405, "METHOD_NOT_ALLOWED"),
        ("/nowhere", b"{}", 404, "NOT_FOUND"),
    ],
)
def test_faults_have_geminis_shape(server: ModelServerProcess, path: str, body: bytes, status: int, name: str) -> None:
    answer = httpx2.post(server.url + path, content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (status, name)
    assert error["message"]


def raw_exchange(server: ModelServerProcess, request: bytes) -> bytes:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /v1/models/m:generateContent HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /v1/models/m:generateContent HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 400),
    ],
)
def test_bytes_that_are_no_request_get_an_error_and_the_connection_is_closed(
    server: ModelServerProcess, request_bytes: bytes, status: int
) -> None:
    assert raw_exchange(server, request_bytes).startswith(b"HTTP/1.1 %d " % status)


def test_requests_sent_together_and_chunked_bodies_are_answered_in_order(server: ModelServerProcess) -> None:
    def post(body: bytes) -> bytes:
        head = b"POST /v1/models/m:generateContent HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (5, body[:5], len(body) - 5, body[5:])

    first = post(b'{"contents":[{"parts":[{"text":"first [[delay=0.1]]"}]}]}')
    second = post(b'{"contents":[{"parts":[{"text":"second"}]}]}')
    last = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
    answers = raw_exchange(server, first + second + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.index(b"Echo: first") < answers.index(b"Echo: second") < answers.index(b'"status":"ok"')


def test_a_thousand_calls_at_once_wait_together(server: ModelServerProcess) -> None:
    body = b'{"contents":[{"parts":[{"text":"crowd [[delay=1]]"}]}]}'
    head = b"POST /v1beta/models/m:generateContent HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(
        body
    )
    host, port = server.url.removeprefix("http://").split(":")

    async def call() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + body)
        answer = await reader.read()
        writer.close()
        return answer

    async def crowd() -> list[bytes]:
        return await asyncio.gather(*[call() for _ in range(1000)])

    began = time.monotonic()
    answers = asyncio.run(crowd())
    assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
    assert time.monotonic() - began < 60
    wait_for(lambda: server.get("/scripted/totals")["running"] == 0, seconds=60, what="the end of the crowd")


def test_a_body_that_is_expected_to_be_asked_for_is_asked_for(server: ModelServerProcess) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"contents":[{"parts":[{"text":"hi"}]}]}'
    head = b"POST /v1/models/m:generateContent HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_get_of_an_unknown_route_is_a_404_and_the_server_goes_on(server: ModelServerProcess) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        server.get("/scripted/nothing")
    assert raised.value.code == 404
    assert server.get("/health")["status"] == "ok"
