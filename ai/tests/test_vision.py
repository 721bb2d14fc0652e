"""POST /ai/vision."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from ai.tests.test_complete_stream import EVENT_STREAM, read_events, text_of
from conftest import Api, Person, assert_error
from conversations.tests.test_attachments import gps_photo, picture
from usage.models import LedgerEntry

ModelCalls = Callable[[str], list[dict[str, Any]]]


def ask(person: Api, *files: bytes, prompt: str | None = None, **options: Any) -> httpx2.Response:
    data = {} if prompt is None else {"prompt": prompt}
    return person.post("ai/vision", files=[("image", ("p.bin", each)) for each in files], data=data, **options)


def inline_data(call: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The type and bytes of the pictures in a call to the model, if they are small."""
    parts = [part for content in call["contents"] for part in content["parts"] if "inlineData" in part]
    pictures = [part["inlineData"] for part in parts]
    return [(each.get("mimeType", each.get("mime_type")), base64.urlsafe_b64decode(each["data"])) for each in pictures]


def test_a_question_about_a_picture_is_answered_and_charged_once(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"what is it, {alice.id}?"
    answer = ask(alice, picture(60, 40), prompt=prompt)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"text", "model", "usage", "images"}
    assert body["text"].startswith(f"Echo: {prompt} [image 60x40 image/png")
    (image,) = body["images"]
    assert (image["mime_type"], image["width"], image["height"]) == ("image/png", 60, 40)
    assert set(image) == {"id", "mime_type", "width", "height", "bytes", "sha256"}
    (call,) = model_calls(prompt)
    entry = LedgerEntry.objects.get(user_id=alice.id)
    assert (entry.purpose, entry.input_tokens) == ("vision", call["prompt_tokens"])
    assert body["usage"]["input_tokens"] == call["prompt_tokens"]


def test_a_photo_reaches_the_model_upright_and_without_its_place(alice: Person, model_calls: ModelCalls) -> None:
    prompt = f"where was it taken, {alice.id}?"
    answer = ask(alice, gps_photo(24, 16), prompt=prompt)
    assert (answer.json()["images"][0]["width"], answer.json()["images"][0]["height"]) == (16, 24)
    (call,) = model_calls(prompt)
    ((mime_type, data),) = inline_data(call)
    assert mime_type == "image/jpeg"
    assert data.startswith(b"\xff\xd8")
    assert b"Exif" not in data
    assert b"secret" not in data


def test_a_large_picture_reaches_the_model_scaled_down(alice: Person) -> None:
    body = ask(alice, picture(4000, 3000)).json()
    assert "[image 1568x1176 " in body["text"]
    assert (body["images"][0]["width"], body["images"][0]["height"]) == (4000, 3000)


def test_one_to_five_pictures_are_taken(alice: Person) -> None:
    five = ask(alice, *[picture() for _ in range(5)]).json()
    assert len(five["images"]) == 5
    assert five["text"].count("[image ") == 5
    expected = [{"field": "body.image", "message": "From 1 to 5 pictures are needed."}]
    assert ask(alice, *[picture() for _ in range(6)]).json()["errors"] == expected
    assert alice.post("ai/vision", files={"prompt": (None, "no picture")}).json()["errors"] == expected


def test_the_answer_can_be_streamed(alice: Person) -> None:
    for path, headers in (("ai/vision", EVENT_STREAM), ("ai/vision/stream", {})):
        request = alice.build_request(
            "POST", path, files={"image": ("p", picture(60, 40))}, data={"prompt": "[[chunks=4]]a b c d"}
        )
        request.headers.update(headers)
        answer = alice.send(request, stream=True)
        events = list(read_events(answer.iter_lines()))
        answer.close()
        name, done = events[-1]
        assert (name, done["text"], len(done["images"])) == ("done", text_of(events), 1)


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [
        ("[[block=answer]]", 422, "content_blocked"),
        ("[[status=500]]", 503, "model_unavailable"),
        ("[[status=429]]", 429, "model_quota"),
    ],
)
def test_what_the_model_refuses_has_its_status(alice: Person, directive: str, status: int, code: str) -> None:
    answer = ask(alice, picture(), prompt=directive)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_no_picture_or_too_much_of_one_is_refused_and_not_charged(alice: Person) -> None:
    assert ask(alice, picture(), b"<svg/>").status_code == 415
    assert_error(ask(alice, picture() + b"\0" * 10 * 1024 * 1024), 413, "too_large", "A picture may have 10 MB at most")
    assert ask(alice, picture(), prompt="x" * 32_001).status_code == 422
    assert not LedgerEntry.objects.filter(user_id=alice.id).exists()


def test_strangers_are_401(anonymous: Api) -> None:
    assert ask(anonymous, picture()).status_code == 401
