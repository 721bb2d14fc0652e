"""`make vendor`: the playground's libraries, copied from their npm packages, with their licences and hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TypedDict

from edgechat.local.npm import unpack

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
    libraries = read_manifest()
    for library in libraries:
        with tempfile.TemporaryDirectory() as folder:
            package = unpack(f"{library['name']}@{library['version']}", Path(folder))
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
