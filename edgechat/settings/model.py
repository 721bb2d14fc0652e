"""Gemini, and the limits in tokens."""

from __future__ import annotations

import re

from marshmallow.validate import Range, Regexp

from edgechat.settings.deployment import env

GEMINI_API_KEY = env.str("GEMINI_API_KEY", "")
GEMINI_MODEL = env.str("GEMINI_MODEL", "gemini-3.5-flash-lite", validate=Regexp(r"[A-Za-z0-9._-]{1,100}\Z"))
GEMINI_BASE_URL = env.str("GEMINI_BASE_URL", "").rstrip("/")
if GEMINI_BASE_URL and not re.fullmatch(r"https?://[^?#\s]+", GEMINI_BASE_URL):
    env.fault("GEMINI_BASE_URL", "must be a URL such as https://generativelanguage.googleapis.com")
GEMINI_API_VERSION = env.str("GEMINI_API_VERSION", "", validate=Regexp(r"(v[0-9]{1,3}((alpha|beta)[0-9]{0,3})?)?\Z"))
MONTHLY_TOKEN_LIMIT = env.int("MONTHLY_TOKEN_LIMIT", 0, validate=Range(min=0, max=2**62))
UNVERIFIED_TOKEN_LIMIT: int | None = env.int("UNVERIFIED_TOKEN_LIMIT", None, validate=Range(min=0, max=2**62))
# Only a label: amounts are not converted.
PRICE_CURRENCY = env.str("PRICE_CURRENCY", "USD", validate=Regexp(r"[A-Z]{3}\Z"))
AI_MAX_OUTPUT_TOKENS = env.int("AI_MAX_OUTPUT_TOKENS", 8192, validate=Range(min=1))
AI_TIMEOUT_SECONDS = env.float("AI_TIMEOUT_SECONDS", 120.0, validate=Range(min=0.1, max=3600))
AI_CACHE_SECONDS = env.int("AI_CACHE_SECONDS", 0, validate=Range(min=0))
CONTEXT_MAX_TOKENS = env.int("CONTEXT_MAX_TOKENS", 32000, validate=Range(min=256))
