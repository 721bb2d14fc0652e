"""`make vendor`: the playground's libraries, copied from their npm packages, with their licences and hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TypedDict

from edgechat.local.process import LocalError

VENDOR = Path(__file__).parents[1] / "playground" / "static" / "playground" / "vendor"
MANIFEST = VENDOR / "manifest.json"


class Library(TypedDict):
    """One npm package: `files` maps our names to the package's, `sha256` our names to their hashes."""

    name: str
    version: str
    licence: str
    files: dict[str, str]
    sha256: dict[str, str]


def read_manifest() -> list[Library]:
    libraries: list[Library] = json.loads(MANIFEST.read_text())
    return libraries


def vendor() -> int:
    """Copy each library's files at the manifest's version, and write their licences and hashes into the manifest.

    To take a newer version, change `version` in the manifest first. Raises LocalError without npm or the package.
    """
    if shutil.which("npm") is None:
        raise LocalError("npm was not found. It comes with Node.js; on Debian and Ubuntu: apt install npm")
    libraries = read_manifest()
    for library in libraries:
        with tempfile.TemporaryDirectory() as folder:
            package = _unpack(f"{library['name']}@{library['version']}", Path(folder))
            library["licence"] = json.loads((package / "package.json").read_text())["license"]
            for ours, theirs in library["files"].items():
                target = VENDOR / ours
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(package / theirs, target)
            library["sha256"] = {ours: sha256_of(VENDOR / ours) for ours in library["files"]}
        print(f"{library['name']} {library['version']} ({library['licence']})")
    MANIFEST.write_text(json.dumps(libraries, indent=2) + "\n")
    return 0


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack(package: str, folder: Path) -> Path:
    """Download one package with npm and unpack it. Its scripts do not run. Returns the package's folder."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        raise LocalError(f"npm could not fetch {package}: {done.stderr.strip()}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"
