"""manage.py beside a running `make run`, and without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
URLS = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL")


def manage(data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` in an environment without any server's address."""
    bare = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**bare, "DATA_DIR": str(data_dir), "ENV_FILE": "no.env", **environment}
    command = [sys.executable, "manage.py", "check"]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def test_a_command_finds_what_make_run_started(data_dir: Path) -> None:
    lines = ["ENVIRONMENT=development", *(f"{name}={os.environ[name]}" for name in URLS)]
    (data_dir / "run.env").write_text("\n".join(lines))
    found = manage(data_dir)
    assert (found.returncode, found.stderr) == (0, "")


def test_without_make_run_a_command_is_in_production(data_dir: Path) -> None:
    refused = manage(data_dir)
    assert refused.returncode == 1
    assert "DATABASE_URL: required in production" in refused.stderr


def test_an_environment_that_is_named_counts(data_dir: Path) -> None:
    (data_dir / "run.env").write_text("ENVIRONMENT=development\n")
    refused = manage(data_dir, ENVIRONMENT="production")
    assert refused.returncode == 1
    assert "DATABASE_URL: required in production" in refused.stderr
