"""manage.py revoke_sessions."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import AuditEvent, Session
from accounts.tests.logins import logged_in, new_email, status_with
from accounts.tests.staff import make_user
from conftest import Api, Person
from edgechat.tests.own_stores import OwnStores


def revoke(*arguments: str) -> str:
    out = io.StringIO()
    call_command("revoke_sessions", *arguments, stdout=out)
    return out.getvalue()


def test_one_user_s_sessions_are_revoked(anonymous: Api, alice: Person, bob: Person) -> None:
    other = logged_in(anonymous, alice.email, alice.password)
    assert revoke(alice.email, "--dry-run") == "Live sessions: 2.\n"
    assert status_with(anonymous, other) == (200, None)
    assert revoke(alice.email.upper()) == "Sessions ended: 2.\n"
    assert revoke(alice.email) == "Sessions ended: 0.\n"
    for tokens in (alice.tokens, other):
        assert status_with(anonymous, tokens) == (401, "token_revoked")
    assert status_with(anonymous, bob.tokens) == (200, None)
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (None, {"sessions": 2})


def test_everybody_s_sessions_are_counted(alice: Person) -> None:
    told = re.fullmatch(r"Live sessions: (\d+)\.\n", revoke("--all", "--dry-run"))
    assert told
    assert int(told[1]) >= 1
    assert alice.get("auth/me").status_code == 200


def test_everybody_s_sessions_are_revoked(own_stores: OwnStores) -> None:
    for _ in range(3):
        Session.objects.create(user=make_user(), expires_at=timezone.now() + timedelta(days=1))
    assert revoke("--all") == "Sessions ended: 3.\n"
    assert not Session.objects.live().exists()
    event = AuditEvent.objects.get(event="session_ended", user_id=None)
    assert (event.actor_id, event.details) == (None, {"sessions": 3})


def test_an_unknown_e_mail_is_a_fault() -> None:
    email = new_email()
    with pytest.raises(CommandError, match=f"There is no user {email}."):
        revoke(email)


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("ann@example.com", "--all")])
def test_it_must_be_said_whose(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"is required|not allowed with argument"):
        revoke(*arguments)
