"""Example values that several calls share in the published OpenAPI file."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample

from accounts.serializers import LOGGED_OUT

DEVICE_TOKEN = "eyJ1c2VyIjo3fQ:1vOZ1y:c2lnbmVk"  # noqa: S105  (an example)
USER = {
    "id": 7,
    "email": "ann@example.com",
    "full_name": "Ann Lee",
    "is_active": True,
    "is_verified": False,
    "role": "user",
    "created_at": "2026-01-01T12:00:00.123456Z",
    "updated_at": "2026-01-01T12:00:00.123456Z",
}
CREDENTIALS = {"email": "ann@example.com", "password": "correct horse"}
CREDENTIALS_EXAMPLE = OpenApiExample("Credentials", value=CREDENTIALS, request_only=True)
LOGGED_OUT_EXAMPLE = OpenApiExample("Logged out", value=LOGGED_OUT, response_only=True)
