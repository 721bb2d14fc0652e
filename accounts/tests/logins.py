"""Helpers for logins and their results."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
import jwt

from conftest import Api, new_address

LOGINS = ("auth/login", "auth/signin", "users/login")


def log_in(api: Api, email: str, password: str, path: str = "auth/login", **body: Any) -> httpx2.Response:
    """Log in from a new client address."""
    return api.post(path, json={"email": email, "password": password, **body}, headers=new_address())


def logged_in(api: Api, email: str, password: str, **body: Any) -> dict[str, Any]:
    answer = log_in(api, email, password, **body)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def session_id_of(tokens: dict[str, Any]) -> str:
    sid: str = jwt.decode(tokens["access_token"], options={"verify_signature": False})["sid"]
    return sid


def status_with(api: Api, tokens: dict[str, Any]) -> tuple[int, str | None]:
    """(status, code) of a call with the access token."""
    client = api.signed_in(tokens["access_token"])
    answer = client.get("auth/me", headers=new_address())
    client.close()
    return answer.status_code, answer.json().get("code")


def new_email(name: str = "ann") -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}@example.com"
