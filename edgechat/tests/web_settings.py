"""Settings that many tests share (`web_with(**STRICT)`): each set of settings is one process for the run."""

from __future__ import annotations

# For processes whose calls to the model fail or are small: they must not take over replies or imports of other tests.
APART = {"MONGODB_DB": "edgechat_apart", "IMPORT_MAX_MB": "0"}

# The shared settings in a separate process, which does not know what the others keep in memory.
ELSEWHERE = {"APP_NAME": "EdgeChat elsewhere"}

WITHOUT_REDIS = {"REDIS_URL": "redis://127.0.0.1:9/0", "AI_CACHE_SECONDS": "300", "MAX_REPLIES_PER_USER": "5"}
WITHOUT_MONGODB = {"MONGODB_URL": "mongodb://127.0.0.1:9/", "IMPORT_MAX_MB": "0"}
WITHOUT_POSTGRESQL = {"DATABASE_URL": "postgresql://nobody:secret@127.0.0.1:9/nothing"}
# Few requests from one address, and no model. Each request of a Person has an address of its own.
STRICT = WITHOUT_MODEL = APART | {
    "GEMINI_BASE_URL": "http://127.0.0.1:9",
    "RATE_LIMIT_REQUESTS": "5",
    "RATE_LIMIT_WINDOW_SECONDS": "600",
    "MAX_BODY_BYTES": "2048",
    "ALLOWED_HOSTS": "app.example.com,127.0.0.1",
    "APP_NAME": "Größe 😀",
}
# Low limits for everything else.
SMALL = APART | {
    "AUTH_RATE_LIMIT": "3/h",
    "CONTEXT_MAX_TOKENS": "256",
    "MAX_ATTACHMENTS": "2",
    "MAX_SESSIONS_PER_USER": "3",
    "GEMINI_API_VERSION": "v1beta",
    "CSP_MODE": "relaxed",
    "PLAYGROUND": "false",
}
METRICS_TOKEN = "m" * 32
PRODUCTION = APART | {
    "ENVIRONMENT": "production",
    "JWT_SECRET": "x" * 32,
    "METRICS_TOKEN": METRICS_TOKEN,
    "AUTH_RATE_LIMIT": "1000/m",
    "GEMINI_API_KEY": "",
    "GEMINI_BASE_URL": "",
    "CSP_MODE": "disabled",
}
# Limits that two processes must count together, named origins, and a mail server that is not there.
TWO_PROCESSES = {
    "WEB_CONCURRENCY": "2",
    "RATE_LIMIT_REQUESTS": "20",
    "RATE_LIMIT_WINDOW_SECONDS": "600",
    "MAX_CONVERSATIONS": "12",
    "MAX_REPLIES_PER_USER": "4",
    "MAX_STREAMS_PER_USER": "3",
    "ATTACHMENT_QUOTA_MB": "1",
    "PUBLIC_URL": "https://chat.example.com",
    "CORS_ORIGINS": "https://app.example.com, http://localhost:3000/",
    "EMAIL_URL": "smtp://127.0.0.1:1",
}
SMALL_WINDOW = {"CONTEXT_MAX_TOKENS": "600", "AI_MAX_OUTPUT_TOKENS": "100"}
SLOW_READERS = {"SLOW_READER_SECONDS": "1", "CONTEXT_MAX_TOKENS": "200000"}
