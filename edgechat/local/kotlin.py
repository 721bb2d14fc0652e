"""Kotlin's compiler and OkHttp, from npm packages, and Android's JSON library, from Debian's.

For tests only, `make kotlin-test`. They need Java 17 or later, which the system must have.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from edgechat.local import debian
from edgechat.local.npm import unpack
from edgechat.local.process import LocalError

_FOLDER = Path(__file__).parents[2] / ".venv" / "kotlin"
_COMPILER_PACKAGE = "kotlin-compiler@2.4.20"  # Apache-2.0, JetBrains' own
_OKHTTP_PACKAGE = "allure-commandline@2.46.1"  # Apache-2.0; a Java program that brings OkHttp 5.5.0 and Okio 3.18.1
_JSON = ("com.android.json.jar", "libandroid-json-java")
_PRELOADER = "org.jetbrains.kotlin.preloading.Preloader"
_COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"


def install_kotlin() -> int:
    """Put the compiler and the libraries into the virtual environment, unless they are there; a step of `make`."""
    if not (_FOLDER / "lib" / "kotlin-compiler.jar").exists() or len(_libraries()) < 2:
        shutil.rmtree(_FOLDER, ignore_errors=True)
        (_FOLDER / "okhttp").mkdir(parents=True)
        with tempfile.TemporaryDirectory() as folder:
            for jar in unpack(_OKHTTP_PACKAGE, Path(folder)).glob("dist/plugins/jira-plugin/lib/ok*.jar"):
                shutil.move(jar, _FOLDER / "okhttp")
        with tempfile.TemporaryDirectory() as folder:
            shutil.move(unpack(_COMPILER_PACKAGE, Path(folder)) / "lib", _FOLDER / "lib")
    print(f"Kotlin: {_FOLDER}, {debian.unpack_java_library(*_JSON)}")
    return 0


def run_kotlin(sources: list[Path], main: str, *arguments: str, folder: Path) -> str:
    """Compile the files into `folder` and run the class `main`. Returns its output.

    Raises LocalError with what the compiler or the program told.
    """
    lib = _FOLDER / "lib"
    libraries = [*_libraries(), debian.unpack_java_library(*_JSON)]
    preloader, compiler = str(lib / "kotlin-preloader.jar"), str(lib / "kotlin-compiler.jar")
    options = ("-cp", _path(libraries), "-d", str(folder))
    _java("-cp", preloader, _PRELOADER, "-cp", compiler, _COMPILER, *options, *map(str, sources))
    return _java("-cp", _path([folder, *libraries, lib / "kotlin-stdlib.jar"]), main, *arguments)


def _libraries() -> list[Path]:
    return sorted((_FOLDER / "okhttp").glob("*.jar"))


def _path(parts: list[Path]) -> str:
    return ":".join(map(str, parts))


def _java(*arguments: str) -> str:
    java = shutil.which("java")
    if java is None:
        raise LocalError("java is missing. Install it, for example: apt install default-jre-headless")
    done = subprocess.run([java, *arguments], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise LocalError(done.stdout + done.stderr)
    return done.stdout
