"""An earlier version of EdgeChat with its own packages, for the tests of two versions beside each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
import venv
from pathlib import Path

from edgechat.local.process import LocalError

_PROJECT = Path(__file__).parents[2]
FOLDER = _PROJECT / ".venv" / "older"
SOURCE = FOLDER / "source"
PYTHON = FOLDER / "venv" / "bin" / "python"
# What is installed: the commit and, to keep packages that fit, its requirements.
_COMMIT = FOLDER / "commit"
_REQUIREMENTS = FOLDER / "venv" / "requirements.txt"
_RELEASE = re.compile(r"^## \d+\.\d+\.\d+.*$", re.MULTILINE)


def install_older(commit: str | None) -> int:
    """Unpack a commit, by default the last release, and install the packages that it pins."""
    found = _git("rev-parse", "--verify", f"{commit or _last_release()}^{{commit}}").strip()
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(SOURCE, ignore_errors=True)
    with tempfile.TemporaryFile() as file:
        file.write(_git_bytes("archive", "--format=tar", found))
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(SOURCE, filter="data")
    _install_packages()
    _COMMIT.write_text(found)
    print(f"Older version: {_git('log', '-1', '--format=%h of %cs, %s', found).strip()}")
    return 0


def _last_release() -> str:
    """The last tag before this commit, or the commit that gave the last release its heading in the changelog."""
    try:
        return _git("describe", "--tags", "--abbrev=0", "HEAD^").strip()
    except LocalError:
        heading = _RELEASE.search(_git("show", "HEAD^:CHANGELOG.md"))
        if heading is None:
            raise LocalError("There is no earlier release. Name a commit: make older-test OLDER=<commit>") from None
        return _git("log", "--format=%H", "--reverse", f"-S{heading[0]}", "--", "CHANGELOG.md").split()[0]


def _install_packages() -> None:
    wanted = (SOURCE / "requirements.txt").read_text()
    if _REQUIREMENTS.exists() and _REQUIREMENTS.read_text() == wanted:
        return
    print("Installing the packages of the older version ...")
    if not PYTHON.exists():
        venv.create(FOLDER / "venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet", "install"]
    try:
        subprocess.run([*pip, "-r", "requirements.txt"], cwd=SOURCE, check=True)
    except subprocess.SubprocessError as error:
        raise LocalError("The packages of the older version could not be installed.") from error
    _REQUIREMENTS.write_text(wanted)


def _git(*arguments: str) -> str:
    return _git_bytes(*arguments).decode()


def _git_bytes(*arguments: str) -> bytes:
    try:
        command = ["git", *arguments]
        return subprocess.run(command, cwd=_PROJECT, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise LocalError("git was not found.") from None
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip()
        raise LocalError(f"git {arguments[0]} failed: {words}. Is the history here (git fetch --unshallow)?") from error
