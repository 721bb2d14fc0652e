"""Programs from the packages of Debian or Ubuntu, unpacked into the virtual environment without being installed.

For tests only, of what neither a Python nor an npm package has: each is a make target of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgechat.local.process import LocalError

_PACKAGES = Path(__file__).parents[2] / ".venv" / "debian"


def program(name: str, package: str) -> Path | None:
    """The program from the system, or from the unpacked package; None if it is in neither."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is not None:
        return Path(found)
    unpacked = [_PACKAGES / package / "usr" / folder / name for folder in ("bin", "sbin")]
    return next((path for path in unpacked if path.exists()), None)


def libraries(package: str) -> list[Path]:
    """The shared libraries that were unpacked with it."""
    return sorted((_PACKAGES / package).glob("usr/lib/*/lib*.so*"))


def unpack_java_library(name: str, package: str) -> Path:
    """The package's JAR of this name; it is unpacked unless it is there. Raises LocalError."""
    unpacked = _PACKAGES / package / "usr" / "share" / "java" / name
    if not unpacked.exists():
        _download(package, package)
    return unpacked


def unpack(name: str, package: str, *, with_libraries: str = "") -> int:
    """Unpack `package` for its program `name`, unless there is one; a step of `make`.

    `with_libraries` is a pattern of those packages that it depends on, and that a small system lacks. Raises
    LocalError.
    """
    if program(name, package) is None:
        wanted = [package]
        if with_libraries:
            depends = _run("apt-cache", "depends", package, folder="/", package=package)
            wanted += re.findall(rf"^\s+Depends: ((?:{with_libraries})[\w.+-]*)$", depends, re.MULTILINE)
        _download(package, *wanted)
    print(f"{package}: {program(name, package)}")
    return 0


def require(name: str, package: str) -> Path:
    """The program. Raises LocalError if it is neither installed nor unpacked."""
    found = program(name, package)
    if found is None:
        raise LocalError(f"{name} is missing. Install it, for example: apt install {package}")
    return found


def output_of(
    name: str, package: str, *arguments: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit code and the output of the program. Raises LocalError if it is missing."""
    command = [str(require(name, package)), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def _download(package: str, *wanted: str) -> None:
    """Unpack the wanted packages into the folder of `package`."""
    with tempfile.TemporaryDirectory() as folder:
        _run("apt-get", "download", *wanted, folder=folder, package=package)
        _PACKAGES.mkdir(parents=True, exist_ok=True)  # dpkg-deb makes only the last folder
        for file in Path(folder).glob("*.deb"):
            _run("dpkg-deb", "--extract", str(file), str(_PACKAGES / package), folder=folder, package=package)


def _run(*command: str, folder: str, package: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalError(
            f"{' '.join(command)} failed: {error}. Install it, for example: apt install {package}"
        ) from error
    return done.stdout
