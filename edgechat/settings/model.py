"""Gemini, and the limits in tokens."""

from __future__ import annotations

import re

from marshmallow.validate import Range, Regexp

from edgechat.settings.deployment import env

#: Google's key. Without a key and without a base URL: the local model in development, 503 in production.
GEMINI_API_KEY = env.str("GEMINI_API_KEY", "")
#: The model that answers.
GEMINI_MODEL = env.str("GEMINI_MODEL", "gemini-3.5-flash-lite", validate=Regexp(r"[A-Za-z0-9._-]{1,100}\Z"))
#: Your own server that speaks Gemini's REST protocol.
GEMINI_BASE_URL = env.str("GEMINI_BASE_URL", "").rstrip("/")
if GEMINI_BASE_URL and not re.fullmatch(r"https?://[^?#\s]+", GEMINI_BASE_URL):
    env.fault("GEMINI_BASE_URL", "must be a URL such as https://generativelanguage.googleapis.com")
#: `v1` or `v1beta`; unset: the SDK's default. `manage.py doctor` checks that it accepts what EdgeChat sends.
GEMINI_API_VERSION = env.str("GEMINI_API_VERSION", "", validate=Regexp(r"(v[0-9]{1,3}((alpha|beta)[0-9]{0,3})?)?\Z"))
#: Tokens that each user, and each organization, may use in a calendar month (UTC); `0`: no limit. `manage.py
#: set_budget` and the admin set other limits.
MONTHLY_TOKEN_LIMIT = env.int("MONTHLY_TOKEN_LIMIT", 0, validate=Range(min=0, max=2**62))
#: Tokens in a calendar month until a user's address is verified, whatever other budget applies; `0`: none at all.
UNVERIFIED_TOKEN_LIMIT: int | None = env.int("UNVERIFIED_TOKEN_LIMIT", None, validate=Range(min=0, max=2**62))
# Only a label: amounts are not converted.
#: The currency of the admin's [prices](operations.md#prices), shown beside costs.
PRICE_CURRENCY = env.str("PRICE_CURRENCY", "USD", validate=Regexp(r"[A-Z]{3}\Z"))
#: Sent with every call, lowered to what is left of a budget.
AI_MAX_OUTPUT_TOKENS = env.int("AI_MAX_OUTPUT_TOKENS", 8192, validate=Range(min=1))
#: The time limit of one whole call.
AI_TIMEOUT_SECONDS = env.float("AI_TIMEOUT_SECONDS", 120.0, validate=Range(min=0.1, max=3600))
#: After so many failures of the model in a row, a web process answers 503 at once and lets only one call every 5
#: seconds try it, until one succeeds; `0`: never. Failures of one account concern this account alone; those of three
#: or more concern all.
MODEL_BREAKER_FAILURES = env.int("MODEL_BREAKER_FAILURES", 10, validate=Range(min=0))
#: How long one-off answers are cached for the user who sent the prompt; `0`: not at all.
AI_CACHE_SECONDS = env.int("AI_CACHE_SECONDS", 0, validate=Range(min=0))
#: The most that goes to the model with one message, by a cautious estimate.
CONTEXT_MAX_TOKENS = env.int("CONTEXT_MAX_TOKENS", 32000, validate=Range(min=256))
