"""A request whose session or rights end while its body arrives has no effect."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image

from accounts.login.sessions import end_all_sessions
from accounts.models import User
from accounts.tests.staff import Staff, form_fields, make_user, superuser
from conftest import Person
from conversations.models import Attachment, Todo
from edgechat.http.request_body import LATE_SECONDS
from edgechat.tests.raw_client import Answer, RawClient

JSON = "application/json"
# Large enough that the time limit of the body is never reached, even on a slow machine.
PADDING = "x" * 200_000


def send_late(
    client: RawClient, method: str, path: str, body: bytes, meanwhile: Callable[[], object], **headers: Any
) -> Answer:
    """Send all but the last byte, call `meanwhile`, and send the rest a moment later."""
    client.begin(method, path, body[:-1], Content_Length=len(body), **headers)
    for act in (lambda: None, meanwhile):  # the first wait lets the server authenticate the request
        act()
        done_at = time.monotonic()
        while time.monotonic() < done_at + LATE_SECONDS:
            time.sleep(0.02)
    client.sock.sendall(body[-1:])
    return client.answer()


def token_of(person: Person) -> str:
    return str(person.tokens["access_token"])


def test_nothing_is_written_for_a_session_that_ended_meanwhile(alice: Person, web_url: str) -> None:
    body = json.dumps({"title": "Late", "more": PADDING}).encode()
    with RawClient(web_url, token=token_of(alice)) as client:
        answer = send_late(
            client, "POST", "todos", body, lambda: alice.post("auth/logout").raise_for_status(), Content_Type=JSON
        )
    assert (answer.status, answer.code) == (401, "token_revoked")
    assert not Todo.objects.filter(owner_id=alice.id).exists()


def test_nothing_is_uploaded_for_a_session_that_ended_meanwhile(alice: Person, web_url: str) -> None:
    data = io.BytesIO()
    Image.effect_noise((800, 800), 50).save(data, "PNG")
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    body = head + data.getvalue() + b"\r\n--b--\r\n"
    with RawClient(web_url, token=token_of(alice)) as client:
        answer = send_late(
            client,
            "POST",
            "chat/attachments",
            body,
            lambda: alice.post("auth/logout-all").raise_for_status(),
            Content_Type="multipart/form-data; boundary=b",
        )
    assert (answer.status, answer.code) == (401, "token_revoked")
    assert not Attachment.objects.filter(owner_id=alice.id).exists()


def test_rights_that_were_taken_away_meanwhile_are_gone(alice: Person, web_url: str) -> None:
    User.objects.filter(pk=alice.id).update(is_staff=True)
    other = make_user("other")
    body = json.dumps({"is_active": False, "more": PADDING}).encode()
    with RawClient(web_url, token=token_of(alice)) as client:
        answer = send_late(
            client,
            "PATCH",
            f"users/{other.pk}",
            body,
            lambda: User.objects.filter(pk=alice.id).update(is_staff=False),
            Content_Type=JSON,
        )
    assert (answer.status, answer.code) == (403, "permission_denied")
    assert User.objects.get(pk=other.pk).is_active


def _shut_out(staff: Staff) -> None:
    User.objects.filter(pk=staff.user.pk).update(is_active=False)
    end_all_sessions(user_id=staff.user.pk, reason="deactivated")


def _demote(staff: Staff) -> None:
    User.objects.filter(pk=staff.user.pk).update(is_staff=False, is_superuser=False)


def _end_session(staff: Staff) -> None:
    end_all_sessions(user_id=staff.user.pk, reason="logged_out_everywhere")


@pytest.mark.parametrize("end", [_shut_out, _demote, _end_session])
def test_a_form_of_the_admin_does_nothing_for_who_is_out_meanwhile(
    web_url: str, end: Callable[[Staff], object]
) -> None:
    user = make_user("user", full_name="Ann")
    with superuser(web_url) as staff, RawClient(web_url) as client:
        path = f"accounts/user/{user.pk}/change/"
        fields = form_fields(staff.get(path).text)
        fields |= {"csrfmiddlewaretoken": staff.cookies.get("csrftoken"), "full_name": "Hacked", "more": PADDING}
        body = urlencode({name: value for name, value in fields.items() if value is not None}, doseq=True).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in staff.cookies.items())
        answer = send_late(
            client,
            "POST",
            f"/admin/{path}",
            body,
            lambda: end(staff),
            Content_Type="application/x-www-form-urlencoded",
            Cookie=cookies,
        )
    assert answer.status == 302
    assert answer.headers["Location"].startswith("/admin/login/")
    assert User.objects.get(pk=user.pk).full_name == "Ann"
