"""System checks: unsafe combinations of settings are reported, and the settings of production have none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

PROJECT = Path(__file__).parents[2]
PRODUCTION = {
    "ENV_FILE": "no-such-file",
    "ENVIRONMENT": "production",
    "JWT_SECRET": "0123456789abcdef" * 4,
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "MONGODB_URL": "mongodb://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "PUBLIC_URL": "https://chat.example.com",
    "TRUSTED_PROXY_COUNT": "1",
    "GEMINI_API_KEY": "key",
    "MONTHLY_TOKEN_LIMIT": "1000000",
    "EMAIL_URL": "submission://user:password@mail.example.com:587",
}


def check_deploy(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **PRODUCTION, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_settings_pass_every_check() -> None:
    done = check_deploy()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("System check identified no issues")


def test_what_is_unsafe_in_production_is_told_with_a_hint() -> None:
    nothing = dict.fromkeys(("GEMINI_API_KEY", "EMAIL_URL", "MONTHLY_TOKEN_LIMIT"), "")
    done = check_deploy(ALLOWED_HOSTS="*", TRUSTED_PROXY_COUNT="0", **nothing)
    assert done.returncode == 1
    for number in ("W001", "W002", "W003", "W004", "W005"):
        assert f"?: (edgechat.{number}) " in done.stderr
    assert done.stderr.count("HINT: ") == 5


def test_a_budget_of_the_unverified_is_one() -> None:
    done = check_deploy(MONTHLY_TOKEN_LIMIT="0", UNVERIFIED_TOKEN_LIMIT="0")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("unsafe", "identity"),
    [
        ({"CORS_ALLOW_ALL_ORIGINS": True, "CORS_ALLOW_CREDENTIALS": True}, "edgechat.E001"),
        ({"TRUSTED_PROXY_COUNT": 0, "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, "edgechat.E002"),
        ({"TRUSTED_PROXY_COUNT": 0, "SECURE_PROXY_SSL_HEADER": None, "USE_X_FORWARDED_HOST": True}, "edgechat.E002"),
        ({"JWT_SECRET": ""}, "edgechat.E003"),
        ({"JWT_SECRET": "short", "DEVELOPMENT": False}, "edgechat.E003"),
    ],
)
def test_unsafe_combinations_are_errors_with_a_hint(unsafe: dict[str, Any], identity: str) -> None:
    assert [found.id for found in run_checks() if str(found.id).startswith("edgechat.")] == []
    with override_settings(**unsafe):
        [found] = [found for found in run_checks() if str(found.id).startswith("edgechat.")]
    assert (found.id, bool(found.hint), found.is_serious()) == (identity, True, True)
