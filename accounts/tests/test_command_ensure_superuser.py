"""manage.py ensure_superuser."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from accounts.models import AuditEvent, User
from accounts.tests.staff import make_user
from conftest import Api

PROJECT = Path(__file__).parents[2]


def _ensure(email: str, password: str = "password of root") -> str:
    out = io.StringIO()
    with override_settings(FIRST_SUPERUSER_EMAIL=email, FIRST_SUPERUSER_PASSWORD=password):
        call_command("ensure_superuser", stdout=out)
    return out.getvalue()


@pytest.fixture
def email() -> str:
    return f"Root-{uuid.uuid4().hex[:12]}@example.com"


def test_the_superuser_is_made_and_can_log_in(email: str, anonymous: Api) -> None:
    assert _ensure(email) == f"Made the superuser {email}.\n"
    made = User.objects.get(email=email)
    assert (made.is_staff, made.is_superuser, made.is_active, made.is_verified) == (True, True, True, True)
    events = AuditEvent.objects.filter(user_id=made.pk).values_list("event", "actor_id", "details")
    assert list(events) == [("registered", None, {"role": "admin", "superuser": True})]
    answer = anonymous.post("auth/login", json={"email": email.lower(), "password": "password of root"})
    assert answer.status_code == 200


def test_an_existing_user_is_never_overwritten(email: str) -> None:
    user = make_user(email=email)
    assert _ensure(email.upper(), "another password") == f"There is a user {email.upper()} already; left as it is.\n"
    left = User.objects.get(pk=user.pk)
    assert (left.password, left.is_superuser, left.email) == (user.password, False, email)


def test_nothing_happens_where_none_is_configured() -> None:
    before = User.objects.filter(is_superuser=True, email="").count()
    assert _ensure("") == "FIRST_SUPERUSER_EMAIL is not set: nothing to do.\n"
    assert User.objects.filter(is_superuser=True, email="").count() == before


@pytest.mark.parametrize(
    ("address", "password", "message"),
    [
        (lambda _: "no address", "long enough", "FIRST_SUPERUSER_EMAIL is not an e-mail address"),
        (lambda email: email, "short", "FIRST_SUPERUSER_PASSWORD must have 8 to 128 characters"),
        (lambda email: email, "x" * 129, "FIRST_SUPERUSER_PASSWORD must have 8 to 128 characters"),
    ],
)
def test_what_cannot_be_used_is_a_command_error(
    email: str, address: Callable[[str], str], password: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        _ensure(address(email), password)
    assert not User.objects.filter(email=email).exists()


def test_a_common_password_is_refused_in_production(email: str) -> None:
    common = "accounts.login.passwords.NormalizedCommonPasswordValidator"
    with override_settings(AUTH_PASSWORD_VALIDATORS=[{"NAME": common}]):
        with pytest.raises(CommandError, match="FIRST_SUPERUSER_PASSWORD: This password is too common"):
            _ensure(email, "password123")
        assert not User.objects.filter(email=email).exists()
        make_user(email=email)
        assert "left as it is" in _ensure(email, "password123")


def test_instances_that_start_at_once_make_one(email: str) -> None:
    env = {**os.environ, "FIRST_SUPERUSER_EMAIL": email, "FIRST_SUPERUSER_PASSWORD": "password of root"}
    command = [sys.executable, "manage.py", "ensure_superuser"]
    running = [
        subprocess.Popen(command, cwd=PROJECT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert User.objects.filter(email=email).count() == 1
