"""manage.py set_role and revoke_sessions."""

from __future__ import annotations

import io
import re

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent
from accounts.tests.logins import logged_in, new_email, status_with
from accounts.tests.staff import make_user
from conftest import Api, Person


def run(command: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("role", "rights"), [("admin", (True, False)), ("superuser", (True, True)), ("user", (False, False))]
)
def test_a_role_is_given(role: str, rights: tuple[bool, bool]) -> None:
    user = make_user(is_staff=role == "user", is_superuser=role != "superuser")
    assert run("set_role", user.email.upper(), role) == f"{user.email} has the role {role} now.\n"
    assert run("set_role", user.email, role) == f"{user.email} has the role {role} already.\n"
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser) == rights
    events = AuditEvent.objects.filter(user_id=user.pk).values_list("event", "actor_id", "details")
    assert list(events) == [("role_changed", None, {"role": user.role, "superuser": rights[1]})]


@pytest.mark.parametrize("command", [("set_role", "{}", "admin"), ("revoke_sessions", "{}")])
def test_an_unknown_e_mail_is_a_fault(command: tuple[str, ...]) -> None:
    email = new_email()
    with pytest.raises(CommandError, match=f"There is no user {email}."):
        run(*(part.format(email) for part in command))


@pytest.mark.parametrize(
    "command",
    [("set_role", "ann@example.com", "owner"), ("revoke_sessions",), ("revoke_sessions", "ann@example.com", "--all")],
)
def test_other_arguments_are_faults(command: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*command)


def test_one_user_s_sessions_are_revoked(anonymous: Api, alice: Person, bob: Person) -> None:
    other = logged_in(anonymous, alice.email, alice.password)
    assert run("revoke_sessions", alice.email, "--dry-run") == "Live sessions: 2.\n"
    assert status_with(anonymous, other) == (200, None)
    assert run("revoke_sessions", alice.email.upper()) == "Sessions ended: 2.\n"
    assert run("revoke_sessions", alice.email) == "Sessions ended: 0.\n"
    for tokens in (alice.tokens, other):
        assert status_with(anonymous, tokens) == (401, "token_revoked")
    assert status_with(anonymous, bob.tokens) == (200, None)
    event = AuditEvent.objects.get(user_id=alice.id, event="session_ended")
    assert (event.actor_id, event.details) == (None, {"sessions": 2})


def test_everybody_s_sessions_are_counted(alice: Person) -> None:
    told = re.fullmatch(r"Live sessions: (\d+)\.\n", run("revoke_sessions", "--all", "--dry-run"))
    assert told
    assert int(told[1]) >= 1
    assert alice.get("auth/me").status_code == 200
