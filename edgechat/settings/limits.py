"""What one client, and one user, may have and send."""

from __future__ import annotations

import re

from marshmallow.validate import Range

from edgechat.settings.deployment import env

RATE_LIMIT_REQUESTS = env.int("RATE_LIMIT_REQUESTS", 100, validate=Range(min=1))
RATE_LIMIT_WINDOW_SECONDS = env.int("RATE_LIMIT_WINDOW_SECONDS", 60, validate=Range(min=1, max=86400))
AUTH_RATE_LIMIT = env.str("AUTH_RATE_LIMIT", "30/m")
if not re.fullmatch(r"[1-9]\d*/([1-9]\d*)?[smhd]", AUTH_RATE_LIMIT or "", re.ASCII):
    env.fault("AUTH_RATE_LIMIT", "must look like 30/m (a count, a slash, and s, m, h or d)")
FAILED_LOGIN_SECONDS = env.float("FAILED_LOGIN_SECONDS", 1.5, validate=Range(min=0, max=10))
MAX_SESSIONS_PER_USER = env.int("MAX_SESSIONS_PER_USER", 100, validate=Range(min=1, max=1000))
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", 0, validate=Range(min=0, max=10))
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 8 * 1024 * 1024, validate=Range(min=1024))
MAX_JSON_BYTES = env.int("MAX_JSON_BYTES", 256 * 1024, validate=Range(min=1024))
MAX_HELD_BYTES = env.int("MAX_HELD_BYTES", 256 * 1024 * 1024, validate=Range(min=1024))
MAX_CONNECTIONS_PER_ADDRESS = env.int("MAX_CONNECTIONS_PER_ADDRESS", 200, validate=Range(min=1))
SLOW_READER_SECONDS = env.int("SLOW_READER_SECONDS", 30, validate=Range(min=1, max=3600))
MAX_REPLIES_PER_USER = env.int("MAX_REPLIES_PER_USER", 10, validate=Range(min=1))
MAX_STREAMS_PER_USER = env.int("MAX_STREAMS_PER_USER", 20, validate=Range(min=1))
MAX_ATTACHMENTS = env.int("MAX_ATTACHMENTS", 2000, validate=Range(min=1))
ATTACHMENT_QUOTA_MB = env.int("ATTACHMENT_QUOTA_MB", 500, validate=Range(min=1))
MAX_CONVERSATIONS = env.int("MAX_CONVERSATIONS", 10_000, validate=Range(min=1))
USAGE_RAW_DAYS = env.int("USAGE_RAW_DAYS", 90, validate=Range(min=1))
