"""The playground's page and files, as far as they can be judged without a browser; `make browser-test` has the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Api, ask, assert_error
from edgechat.local.vendor import VENDOR, read_manifest, sha256_of
from edgechat.tests.web_settings import SMALL

PROJECT = Path(__file__).parents[3]
STATIC = PROJECT / "edgechat" / "playground" / "static"
OWN = sorted(path for path in (STATIC / "playground").rglob("*.*") if VENDOR not in path.parents)
# What Safari 16.4 or Firefox ESR does not have, as far as somebody might use it here.
NEWER = re.compile(
    r"light-dark\(|@starting-style|\banchor\(|\bpopover|^\s+&|"
    r"Promise\.(?:withResolvers|try)|AbortSignal\.any|Object\.groupBy|URL\.(?:canParse|parse)\(|requestIdleCallback|"
    r"\.(?:keys|values|entries)\(\)\.(?!next\()|for await \(.* of \w+(?:\.body)?\)|crypto\.randomUUID\(",
    re.MULTILINE,
)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "form-action": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "lit-html dompurify",
    "object-src": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.mark.parametrize("path", ["playground", "playground/", "reset-password", "verify-email"])
def test_the_page_allows_only_its_own_files_and_the_api(anonymous: Api, path: str) -> None:
    answer = anonymous.get(f"{anonymous.origin}/{path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy == POLICY
    assert answer.headers["Permissions-Policy"].startswith("camera=(self), ")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", answer.text) == []
    linked = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(linked) >= 4
    for address in linked:
        assert anonymous.get(f"{anonymous.origin}{address}").status_code == 200, address


def test_the_page_can_be_turned_off(web_with: Callable[..., str]) -> None:
    assert SMALL["PLAYGROUND"] == "false"
    answer = ask("GET", f"{web_with(**SMALL)}/playground")
    assert_error(answer, 404, "not_found", "Not found")


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ({"ENVIRONMENT": "production"}, False),
        ({"ENVIRONMENT": "production", "PLAYGROUND": "true"}, True),
        ({"ENVIRONMENT": "development"}, True),
    ],
)
def test_it_is_served_in_development_and_elsewhere_by_setting(given: dict[str, str], served: bool) -> None:
    environment = {
        "ENV_FILE": "no-such-file",
        "PATH": os.environ["PATH"],
        "JWT_SECRET": "x" * 32,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
        "MONGODB_URL": "mongodb://127.0.0.1:9",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        **given,
    }
    program = "import edgechat.settings; print(edgechat.settings.PLAYGROUND)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(served), done.stderr


def test_the_vendored_files_are_those_of_the_manifest() -> None:
    libraries = read_manifest()
    known = {VENDOR / "manifest.json"}
    for library in libraries:
        assert re.fullmatch(r"\d+\.\d+\.\d+", library["version"]), library["name"]
        assert library["licence"] in ("MIT", "BSD-3-Clause", "(MPL-2.0 OR Apache-2.0)"), library["name"]
        assert any(name.endswith("/LICENSE") for name in library["files"]), library["name"]
        assert {name: sha256_of(VENDOR / name) for name in library["files"]} == library["sha256"]
        known |= {VENDOR / name for name in library["files"]}
    assert {path for path in VENDOR.rglob("*") if path.is_file()} == known


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(STATIC).as_posix())
def test_the_own_files_need_no_other_host_and_no_eval(path: Path) -> None:
    text = path.read_text()
    hosts = set(re.findall(r"\bhttps?://([\w.-]+)", text))
    assert hosts <= {"example.com"}  # the example in a field
    assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text) == []
    if path.suffix == ".js":
        for module in re.findall(r'(?:from|import) "(\.[^"]+)"', text):
            assert (path.parent / module).is_file(), module


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(STATIC).as_posix())
def test_the_own_files_need_no_newer_browser_than_the_documentation_says(path: Path) -> None:
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    assert NEWER.findall(text) == []
