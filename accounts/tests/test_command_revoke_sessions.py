"""manage.py revoke_sessions."""

from __future__ import annotations

import io
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts.models import AuditEvent, Session
from accounts.tests.logins import logged_in, new_email, status_with
from conftest import Api, Person


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


def test_everybody_s_sessions_are_revoked(alice: Person) -> None:
    with transaction.atomic():
        assert re.fullmatch(r"Sessions ended: [1-9]\d*\.\n", revoke("--all"))
        assert not Session.objects.live().exists()
        event = AuditEvent.objects.filter(event="session_ended", user_id=None).latest("id")
        assert (event.actor_id, set(event.details)) == (None, {"sessions"})
        transaction.set_rollback(True)  # other tests have sessions too
    assert alice.get("auth/me").status_code == 200


def test_an_unknown_e_mail_is_a_fault() -> None:
    email = new_email()
    with pytest.raises(CommandError, match=f"There is no user {email}."):
        revoke(email)


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("ann@example.com", "--all")])
def test_it_must_be_said_whose(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=r"is required|not allowed with argument"):
        revoke(*arguments)
