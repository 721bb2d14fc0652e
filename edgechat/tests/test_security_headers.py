"""The security headers on every answer, and that EdgeChat's own pages work under them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from accounts.tests.staff import superuser
from conftest import Api, ask, new_address
from edgechat.tests.web_settings import PRODUCTION, SMALL, STRICT

DATA = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def assert_headers(answer: httpx2.Response) -> None:
    told = {name: answer.headers.get(name) for name in ("X-Content-Type-Options", "X-Frame-Options")}
    assert told == {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Permissions-Policy"] == "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/api/v1/health", 200),
        ("GET", "/api/v1/openapi.json", 200),
        ("GET", "/api/v1/auth/me", 401),
        ("GET", "/api/v1/nothing", 404),
        ("PUT", "/api/v1/auth/login", 405),
        ("POST", "/api/v1/auth/login", 422),
    ],
)
def test_every_answer_has_them_errors_too(anonymous: Api, method: str, path: str, status: int) -> None:
    answer = anonymous.request(method, anonymous.origin + path)
    assert answer.status_code == status
    assert_headers(answer)
    assert answer.headers["Content-Security-Policy"] == DATA


def test_what_middleware_answers_by_itself_has_them(anonymous: Api, web_with: Callable[..., str]) -> None:
    preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}
    answer = anonymous.options("auth/me", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert_headers(answer)
    with Api(web_with(**STRICT)) as limited:
        wrong_host = limited.get("auth/me", headers={"Host": "evil.example.com"})
        assert wrong_host.status_code == 400
        assert_headers(wrong_host)
        too_many = [limited.get("auth/me") for _ in range(6)][-1]
        assert too_many.status_code == 429
        assert_headers(too_many)


@pytest.mark.parametrize("page", ["docs", "docs/", "redoc", "redoc/"])
def test_pages_run_no_inline_script_and_no_eval(anonymous: Api, page: str) -> None:
    answer = anonymous.get(f"{anonymous.origin}/{page}")
    assert answer.status_code == 200
    assert_headers(answer)
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert re.findall(r"<script(?![^>]*\bsrc=)", answer.text) == []


def test_the_admin_has_a_policy_of_its_own(web_url: str) -> None:
    with superuser(web_url) as staff:
        for path in ("", "accounts/user/", f"accounts/user/{staff.user.pk}/change/", "accounts/auditevent/"):
            answer = staff.get(path)
            assert answer.status_code == 200
            assert_headers(answer)
            policy = answer.headers["Content-Security-Policy"]
            assert "script-src 'self' 'unsafe-eval';" in policy
            inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", answer.text)
            assert inline == []
            assert re.findall(r"\son(?:click|change|submit|load)=", answer.text) == []
            assert re.findall(r'\s(?:src|href)="(?:https?:)?//[^"]*"', answer.text) == []


def test_the_mode_can_be_relaxed_or_disabled(web_with: Callable[..., str]) -> None:
    assert (SMALL["CSP_MODE"], PRODUCTION["CSP_MODE"]) == ("relaxed", "disabled")
    for settings, expected in ((SMALL, "'unsafe-inline' 'unsafe-eval'"), (PRODUCTION, None)):
        answer = ask("GET", f"{web_with(**settings)}/docs")
        policy = answer.headers.get("Content-Security-Policy")
        assert (expected in policy) if policy and expected else policy == expected
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_hsts_is_sent_over_https_outside_development(web_with: Callable[..., str]) -> None:
    url = web_with(**PRODUCTION)
    secure = {**new_address(), "X-Forwarded-Proto": "https"}
    for path in ("/", "/api/v1/nothing"):
        answer = ask("GET", url + path, headers=secure)
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        assert "Strict-Transport-Security" not in ask("GET", url + path).headers
        for forwarded, is_sent in (("https, http", False), ("http, https", True)):  # behind one proxy
            headers = {**new_address(), "X-Forwarded-Proto": forwarded}
            answer = ask("GET", url + path, headers=headers)
            assert ("Strict-Transport-Security" in answer.headers) is is_sent


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")
@pytest.mark.parametrize(("page", "text"), [("docs", "operations-tag-accounts"), ("redoc", "tag/accounts")])
def test_the_documentation_works_in_a_browser_without_a_complaint(
    web_url: str, tmp_path: Path, page: str, text: str
) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
    done = subprocess.run(
        [
            str(CHROMIUM),
            *options,
            f"--user-data-dir={tmp_path}",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"{web_url}/{page}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert text in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    shown = re.findall(r'(?:src|srcset|poster)="(?!data:)(https?://[^"]*)"', done.stdout)
    assert shown == [], "nothing is asked for elsewhere"


def test_browsers_are_told_of_openers_only_where_they_heed_it(anonymous: Api) -> None:
    for host, scheme, told in (
        ("chat.example.com", "http", None),
        ("chat.example.com", "https", "same-origin"),
        ("127.0.0.1:8000", "http", "same-origin"),
        ("localhost", "http", "same-origin"),
        ("localhost.example.com", "http", None),
    ):
        for path in ("/redoc", "/nothing"):
            answer = anonymous.get(anonymous.origin + path, headers={"Host": host, "X-Forwarded-Proto": scheme})
            assert answer.headers.get("Cross-Origin-Opener-Policy") == told


def test_redoc_is_served_from_here_whole(anonymous: Api) -> None:
    page = anonymous.get(f"{anonymous.origin}/redoc").text
    (script,) = re.findall(r'<script src="([^"]+)"', page)
    for encoding in ("gzip", "identity"):
        answer = anonymous.get(f"{anonymous.origin}{script}", headers={"Accept-Encoding": encoding})
        assert (answer.status_code, answer.headers.get("Content-Encoding", "identity")) == (200, encoding)
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert len(answer.text) > 500_000
        assert "cdn.redoc.ly" not in answer.text
    assert anonymous.post(f"{anonymous.origin}{script}").json()["code"] == "method_not_allowed"


def test_every_page_has_an_icon(anonymous: Api) -> None:
    icon = anonymous.get(f"{anonymous.origin}/favicon.ico")
    assert (icon.status_code, icon.content[:4]) == (200, b"\0\0\1\0")
    assert icon.headers["Content-Type"] in ("image/x-icon", "image/vnd.microsoft.icon")
    for page in ("docs", "redoc"):
        (link,) = re.findall(r'<link rel="icon" href="([^"]+)"', anonymous.get(f"{anonymous.origin}/{page}").text)
        found = anonymous.get(f"{anonymous.origin}{link}")
        assert (found.status_code, found.headers["Content-Type"]) == (200, "image/svg+xml")
