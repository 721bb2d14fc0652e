"""`python -m edgechat.local lint-openapi`: what public tools say about the OpenAPI file. A warning fails, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgechat.local.node_tools import node_command

_PROJECT = Path(__file__).parents[2]
_RULES = Path(__file__).with_name("redocly")


def lint_openapi() -> int:
    """Returns 0 if there is no error and no warning. Raises LocalError without the tools."""
    with tempfile.TemporaryDirectory() as folder:
        # The file that names exceptions has to be beside the OpenAPI file.
        shutil.copytree(_RULES, folder, dirs_exist_ok=True)
        build = [sys.executable, "manage.py", "build_openapi", "--folder", folder, "--verbosity", "0"]
        subprocess.run(build, cwd=_PROJECT, check=True)
        [built] = Path(folder).glob("openapi.*.json")
        built.rename(Path(folder) / "openapi.json")
        redocly = [*node_command("redocly"), "lint", "openapi.json", "--max-problems", "50"]
        env = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
        validator = [sys.executable, "-W", "error", "-m", "openapi_spec_validator", "openapi.json"]
        commands = (redocly, validator)
        failures = [subprocess.run(command, cwd=folder, env=env, check=False).returncode for command in commands]
    return int(any(failures))
