"""Uploading, reading and deleting attachments."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from conftest import Api, Person, assert_error, at_once
from edgechat.tests.web_settings import SMALL, TWO_PROCESSES

KEYS = {"id", "mime_type", "width", "height", "bytes", "sha256"}


def picture(width: int = 60, height: int = 40, *, colour: str = "", kind: str = "PNG", **options: Any) -> bytes:
    """A picture of one colour; each call uses another colour unless one is given."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour or f"#{uuid.uuid4().hex[:6]}").save(file, kind, **options)
    return file.getvalue()


def gps_photo(width: int = 60, height: int = 40) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    exif[0x010E] = "a secret description"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return picture(width, height, kind="JPEG", exif=exif)


def upload(person: Api, data: bytes, name: str = "photo.png", **headers: str) -> httpx2.Response:
    return person.post("chat/attachments", files={"file": (name, data, "image/png")}, headers=headers)


def test_an_upload_is_told_as_it_is_stored_and_comes_back(alice: Person) -> None:
    answer = upload(alice, picture(60, 40))
    assert answer.status_code == 201
    told = answer.json()
    assert set(told) == KEYS
    assert (told["mime_type"], told["width"], told["height"]) == ("image/png", 60, 40)
    for slash in ("", "/"):
        file = alice.get(f"chat/attachments/{told['id']}{slash}")
        assert file.status_code == 200
        assert file.headers["Content-Type"] == "image/png"
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert len(file.content) == told["bytes"] == int(file.headers["Content-Length"])
        assert Image.open(io.BytesIO(file.content)).size == (60, 40)


def test_a_photo_is_turned_upright_and_comes_back_without_its_place(alice: Person) -> None:
    data = gps_photo()
    assert b"a secret description" in data
    told = upload(alice, data, "photo.jpg").json()
    assert (told["mime_type"], told["width"], told["height"]) == ("image/jpeg", 40, 60)
    for size in ("full", "thumb"):
        file = alice.get(f"chat/attachments/{told['id']}", params={"size": size}).content
        assert b"secret" not in file
        assert b"Exif" not in file
        assert not Image.open(io.BytesIO(file)).getexif()


def test_a_thumbnail_is_small(alice: Person) -> None:
    told = upload(alice, picture(900, 300)).json()
    file = alice.get(f"chat/attachments/{told['id']}", params={"size": "thumb"})
    assert Image.open(io.BytesIO(file.content)).size == (256, 85)
    wrong = alice.get(f"chat/attachments/{told['id']}", params={"size": "huge"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "query.size"


def test_the_same_picture_is_stored_once_for_each_user(alice: Person, bob: Person) -> None:
    data = picture()
    answers = at_once(8, lambda _: upload(alice, data))
    assert {answer.status_code for answer in answers} == {201}
    first = answers[0].json()
    assert all(answer.json() == first for answer in answers)
    other = upload(bob, data).json()
    assert other["sha256"] == first["sha256"]
    assert other["id"] != first["id"]


def test_a_key_used_again_gives_the_same_attachment_and_with_another_picture_is_409(alice: Person) -> None:
    data = picture()
    first = upload(alice, data, **{"Idempotency-Key": "k"})
    assert upload(alice, data, **{"Idempotency-Key": "k"}).json() == first.json()
    other = upload(alice, picture(), **{"Idempotency-Key": "k"})
    assert_error(other, 409, "idempotency_conflict", "This key was used before, with another body")


def test_strangers_and_malformed_ids_are_404_and_nothing_changes(alice: Person, bob: Person) -> None:
    told = upload(alice, picture()).json()
    for person, attachment_id in ((bob, told["id"]), (alice, str(uuid.uuid4())), (alice, "1"), (alice, "%00")):
        for method in ("GET", "DELETE"):
            answer = person.request(method, f"chat/attachments/{attachment_id}")
            assert_error(answer, 404, "not_found", "Attachment not found")
    conversation = bob.new_conversation()
    answer = bob.say(conversation, "look", attachment_ids=[told["id"]])
    assert_error(answer, 404, "not_found", "Attachment not found")
    assert bob.messages(conversation)["messages"] == []
    assert alice.get(f"chat/attachments/{told['id']}").status_code == 200


def test_a_deleted_attachment_is_gone_and_can_be_uploaded_again(alice: Person) -> None:
    data = picture()
    told = upload(alice, data).json()
    assert alice.delete(f"chat/attachments/{told['id']}").status_code == 204
    assert alice.get(f"chat/attachments/{told['id']}").status_code == 404
    again = upload(alice, data).json()
    assert again["id"] != told["id"]
    assert alice.get(f"chat/attachments/{again['id']}").status_code == 200


def test_without_a_token_nothing_is_read(anonymous: Api) -> None:
    assert upload(anonymous, picture()).status_code == 401
    assert anonymous.get(f"chat/attachments/{uuid.uuid4()}").status_code == 401


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"%PDF-1.7",
        picture(colour="red")[:60],
        b"GIF89a<script>alert(1)</script>",
    ],
    ids=["empty", "text", "svg", "html", "pdf", "truncated", "polyglot"],
)
def test_what_is_no_picture_is_415_whatever_its_name_says(alice: Person, data: bytes) -> None:
    answer = upload(alice, data, "photo.png")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
    assert "accepted: image/jpeg" in answer.json()["detail"]


def test_too_many_bytes_or_pixels_are_413_and_the_limit_is_told(alice: Person) -> None:
    answer = upload(alice, picture() + b"\0" * 10 * 1024 * 1024)
    assert_error(answer, 413, "too_large", "A picture may have 10 MB at most")
    answer = upload(alice, b"\0" * 20 * 1024 * 1024)
    assert_error(answer, 413, "too_large", "A picture may have 10 MB at most")
    file = io.BytesIO()
    Image.new("1", (20000, 20000)).save(file, "PNG")
    answer = upload(alice, file.getvalue())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "40 megapixels" in answer.json()["detail"]


def test_a_body_that_is_no_upload_gets_a_clear_answer(alice: Person) -> None:
    answer = alice.post("chat/attachments", json={"file": "x"})
    assert_error(answer, 415, "unsupported_type", "Unsupported media type; accepted: multipart/form-data")
    for files in ({"other": ("a.png", picture())}, [("file", ("a.png", picture())), ("file", ("b.png", picture()))]):
        answer = alice.post("chat/attachments", files=files)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "body.file"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    no_file = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n"
    for content in (b"", b"no boundary at all", no_file):
        answer = alice.post("chat/attachments", content=content, headers=headers)
        assert answer.status_code in (400, 415, 422)
        assert "request_id" in answer.json()
    answer = alice.post("chat/attachments", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert answer.status_code == 400


def test_a_chunked_upload_is_read(alice: Person) -> None:
    request = alice.build_request("POST", "chat/attachments", files={"file": ("a.png", picture())})
    body = request.read()
    headers = {"Content-Type": request.headers["Content-Type"]}
    answer = alice.post("chat/attachments", content=iter([body[:50], body[50:]]), headers=headers)
    assert answer.status_code == 201


def test_etag_and_ranges(alice: Person) -> None:
    told = upload(alice, picture(200, 200, kind="JPEG")).json()
    path = f"chat/attachments/{told['id']}"
    whole = alice.get(path)
    etag, data = whole.headers["ETag"], whole.content
    unchanged = alice.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    size = len(data)
    for wanted, expected in (
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, size)),
        ("bytes=-10", (size - 10, size)),
        (f"bytes=5-{size + 100}", (5, size)),
        ("bytes=-999999999", (0, size)),
    ):
        part = alice.get(path, headers={"Range": wanted})
        first, end = expected
        assert (part.status_code, part.content) == (206, data[first:end])
        assert part.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"
    for wanted in (f"bytes={size}-", "bytes=-0"):
        outside = alice.get(path, headers={"Range": wanted})
        assert (outside.status_code, outside.headers["Content-Range"]) == (416, f"bytes */{size}")
    for wanted in ("bytes=9-0", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"):
        ignored = alice.get(path, headers={"Range": wanted})
        assert (ignored.status_code, ignored.content) == (200, data)
    stale = alice.get(path, headers={"Range": "bytes=0-9", "If-Range": '"older"'})
    assert (stale.status_code, stale.content) == (200, data)


def test_more_pictures_than_are_kept_are_refused(web_with: Callable[..., str], register: Callable[..., Person]) -> None:
    carol = register("carol", web_with(**SMALL))
    files = [picture() for _ in range(3)]
    assert [upload(carol, data).status_code for data in files] == [201, 201, 413]
    assert upload(carol, files[0]).status_code == 201


def noise(side: int = 512) -> bytes:
    """A picture that hardly gets smaller when it is stored."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "PNG")
    return file.getvalue()


def test_pictures_beyond_the_quota_are_refused_also_when_they_come_at_once(
    web_with: Callable[..., str], register: Callable[..., Person]
) -> None:
    url = web_with(**TWO_PROCESSES)
    carol, dave = register("carol", url), register("dave", url)
    files = [noise() for _ in range(12)]
    answers = at_once(12, lambda number: upload(carol, files[number]))
    kept = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code != 201]
    sizes = [answer.json()["bytes"] for answer in kept]
    assert sum(sizes) <= 1024 * 1024 < sum(sizes) + max(sizes) * 1.1
    assert refused
    detail = "Your pictures may have 1 MB together; delete some of them first"
    for answer in refused:
        assert_error(answer, 413, "too_large", detail)
    # A repeated upload takes no more room, and a deletion frees its room.
    again = files[answers.index(kept[0])]
    assert upload(carol, again).json() == kept[0].json()
    assert carol.delete(f"chat/attachments/{kept[1].json()['id']}").status_code == 204
    assert [upload(carol, noise()).status_code for _ in range(2)] == [201, 413]
    assert upload(dave, noise()).status_code == 201
