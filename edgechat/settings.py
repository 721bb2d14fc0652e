"""Django settings. Every value comes from the environment through one typed reader; README lists them.

All faults are reported together, so an operator fixes a deployment in one round instead of one restart for each fault.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dj_database_url
import dj_email_url
import gevent.monkey
from django.templatetags.static import static
from django.urls import reverse_lazy
from marshmallow.validate import OneOf, Range, Regexp

from edgechat.development_secret import development_secret
from edgechat.environment import Environment
from edgechat.keys import derive_key
from edgechat.logs import configure_logging
from edgechat.stores import clock

clock.install()

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
env.read_file(BASE_DIR / env.str("ENV_FILE", ".env"))

ENVIRONMENT = env.str("ENVIRONMENT", "production", validate=OneOf(["production", "staging", "development"]))
DEVELOPMENT = ENVIRONMENT == "development"
DATA_DIR = (BASE_DIR / env.path("DATA_DIR", Path(".data"))).resolve()
if DEVELOPMENT:
    # `make run` writes this file: the addresses of the servers that it embeds.
    env.read_file(DATA_DIR / "run.env")

APP_NAME = env.str("APP_NAME", "EdgeChat Backend")
DEBUG = False  # Django's debug pages break the error shape and print settings, so they are off in development too.
LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]))
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
if PUBLIC_URL and not re.fullmatch(r"https?://[^/?#\s]+", PUBLIC_URL):
    env.fault("PUBLIC_URL", "must be an origin such as https://chat.example.com")

# --- Secrets and tokens -------------------------------------------------------------------------------------------
JWT_SECRET = env.str("JWT_SECRET", "") or env.str("SECRET_KEY", "")
if not JWT_SECRET and DEVELOPMENT:
    JWT_SECRET = development_secret(DATA_DIR / "jwt_secret")
if not JWT_SECRET:
    env.fault("JWT_SECRET", "required in production (32 bytes or more), for example from `openssl rand -hex 32`")
elif len(JWT_SECRET.encode()) < 32 and not DEVELOPMENT:
    env.fault("JWT_SECRET", "must have 32 bytes or more")
SECRET_KEY = derive_key(JWT_SECRET, "django-secret-key")
JWT_ALGORITHM = env.str("JWT_ALGORITHM", env.str("ALGORITHM", "HS256"), validate=OneOf(["HS256", "HS384", "HS512"]))
ACCESS_TOKEN_LIFETIME = timedelta(
    minutes=env.int(
        "JWT_ACCESS_EXPIRE_MINUTES", env.int("ACCESS_TOKEN_EXPIRE_MINUTES", 15), validate=Range(min=1, max=24 * 60)
    )
    or 15
)
REFRESH_TOKEN_LIFETIME = timedelta(days=env.int("JWT_REFRESH_EXPIRE_DAYS", 7, validate=Range(min=1, max=365)) or 7)

# --- Stores -------------------------------------------------------------------------------------------------------
# A request's limit for its wait for a turn to work and its waits for stores together. A call that needs a dead store
# takes 5 s.
STORE_TIMEOUT_SECONDS = env.float("STORE_TIMEOUT_SECONDS", 4.5, validate=Range(min=1, max=60)) or 4.5
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", 10, validate=Range(min=1, max=200))


def _postgres_url() -> str:
    """DATABASE_URL, or a URL built from the older backends' POSTGRES_* variables, or an empty text."""
    url: str = env.str("DATABASE_URL", "")
    parts = {name: env.str(f"POSTGRES_{name}", "") for name in ("USER", "PASSWORD", "HOST", "PORT", "DB")}
    if not url and parts["HOST"]:
        login = quote(parts["USER"] or "postgres", safe="")
        if parts["PASSWORD"]:
            login += ":" + quote(parts["PASSWORD"], safe="")
        url = f"postgresql://{login}@{parts['HOST']}:{parts['PORT'] or '5432'}/{parts['DB'] or 'edgechat'}"
    # SQLAlchemy's driver suffix and asyncpg's name of the TLS option, as in the older backend's deployments.
    url = re.sub(r"^postgres(ql)?\+[a-z0-9]+://", "postgresql://", url)
    return re.sub(r"([?&])ssl=", r"\1sslmode=", url)


def _store_url(name: str, value: str, schemes: tuple[str, ...], nowhere: str) -> str:
    """The URL of a store. In development the default is an address without a server, for commands without stores."""
    if not value:
        if not DEVELOPMENT:
            env.fault(name, "required in production")
        return nowhere
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        env.fault(name, f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        return nowhere
    return value


DATABASE_URL = _store_url(
    "DATABASE_URL", _postgres_url(), ("postgresql", "postgres"), "postgresql://nobody@127.0.0.1:9/edgechat"
)
MONGODB_URL = _store_url("MONGODB_URL", env.str("MONGODB_URL", ""), ("mongodb", "mongodb+srv"), "mongodb://127.0.0.1:9")
MONGODB_DB = env.str("MONGODB_DB", "edgechat", validate=Regexp(r"[A-Za-z0-9_-]{1,63}\Z"))
REDIS_URL = _store_url("REDIS_URL", env.str("REDIS_URL", ""), ("redis", "rediss", "unix"), "redis://127.0.0.1:9/0")

try:
    _database: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL))
except ValueError:
    env.fault("DATABASE_URL", "is not a database URL")
    _database = {"ENGINE": "django.db.backends.postgresql", "NAME": "edgechat"}
_database["CONN_MAX_AGE"] = 0  # Django refuses persistent connections together with a pool.
_database["OPTIONS"] = {**_database.get("OPTIONS", {}), "connect_timeout": 3}
if gevent.monkey.is_module_patched("socket"):
    # Only web processes benefit from a pool. A command has one connection, and needs its errors immediately.
    from edgechat.stores.postgresql.base import BoundedConnection

    _database["ENGINE"] = "edgechat.stores.postgresql"
    _database["OPTIONS"] |= {"connect_timeout": 2, "tcp_user_timeout": 5000}
    _database["OPTIONS"]["pool"] = {
        "connection_class": BoundedConnection,
        "min_size": 0,
        "max_size": DATABASE_POOL_SIZE,
        "timeout": STORE_TIMEOUT_SECONDS * 2 / 3,
        "max_idle": 60,
        "reconnect_timeout": 0,  # the next caller tries again
    }
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_redis_options = {
    "SOCKET_CONNECT_TIMEOUT": 0.25,
    "SOCKET_TIMEOUT": 0.5,
    "CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool",
    "CONNECTION_FACTORY": "edgechat.stores.redis.GuardedConnectionFactory",
    "CONNECTION_POOL_KWARGS": {"max_connections": 16, "timeout": 5},
    # The default reads pickles, which can run code: anybody who can write to Redis would control the server.
    "SERIALIZER": "edgechat.stores.redis.CacheSerializer",
}
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL, "OPTIONS": _redis_options},
}

# --- Limits -------------------------------------------------------------------------------------------------------
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
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_JSON_BYTES  # for the fields besides the files
DATA_UPLOAD_MAX_NUMBER_FILES = 20
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "uploads"
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "edgechat.http.uploads.NamelessFileUploadHandler",
]

# --- The model ----------------------------------------------------------------------------------------------------
GEMINI_API_KEY = env.str("GEMINI_API_KEY", "")
GEMINI_MODEL = env.str("GEMINI_MODEL", "gemini-3.5-flash-lite", validate=Regexp(r"[A-Za-z0-9._-]{1,100}\Z"))
GEMINI_BASE_URL = env.str("GEMINI_BASE_URL", "").rstrip("/")
if GEMINI_BASE_URL and not re.fullmatch(r"https?://[^?#\s]+", GEMINI_BASE_URL):
    env.fault("GEMINI_BASE_URL", "must be a URL such as https://generativelanguage.googleapis.com")
GEMINI_API_VERSION = env.str("GEMINI_API_VERSION", "", validate=Regexp(r"(v[0-9]{1,3}((alpha|beta)[0-9]{0,3})?)?\Z"))
MONTHLY_TOKEN_LIMIT = env.int("MONTHLY_TOKEN_LIMIT", 0, validate=Range(min=0, max=2**62))
UNVERIFIED_TOKEN_LIMIT: int | None = env.int("UNVERIFIED_TOKEN_LIMIT", None, validate=Range(min=0, max=2**62))
# Only a label of numbers: nothing is converted.
PRICE_CURRENCY = env.str("PRICE_CURRENCY", "USD", validate=Regexp(r"[A-Z]{3}\Z"))
AI_MAX_OUTPUT_TOKENS = env.int("AI_MAX_OUTPUT_TOKENS", 8192, validate=Range(min=1))
AI_TIMEOUT_SECONDS = env.float("AI_TIMEOUT_SECONDS", 120.0, validate=Range(min=0.1, max=3600))
AI_CACHE_SECONDS = env.int("AI_CACHE_SECONDS", 0, validate=Range(min=0))
CONTEXT_MAX_TOKENS = env.int("CONTEXT_MAX_TOKENS", 32000, validate=Range(min=256))


# --- HTTP ---------------------------------------------------------------------------------------------------------
ROOT_URLCONF = "edgechat.urls"
WSGI_APPLICATION = "edgechat.wsgi.application"
APPEND_SLASH = False  # edgechat.http.trailing_slash makes the slash optional without a redirect.
_hosts: list[str] | None = env.list("ALLOWED_HOSTS", None)
if _hosts is None:
    _hosts = ["*"] if DEVELOPMENT else [re.sub(r"^https?://|[:/].*$", "", PUBLIC_URL)]
# Always includes the loopback names, which the machine's own health checks use.
ALLOWED_HOSTS = [*filter(None, (host.strip() for host in _hosts)), "localhost", "127.0.0.1", "[::1]"]
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


def _cors_origins() -> list[str]:
    """CORS_ORIGINS (`*` or a comma-separated list), else the older BACKEND_CORS_ORIGINS (a JSON list), else `*`."""
    if not env.is_set("CORS_ORIGINS") and env.is_set("BACKEND_CORS_ORIGINS"):
        try:
            origins = json.loads(env.str("BACKEND_CORS_ORIGINS"))
        except ValueError:
            origins = None
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            env.fault("BACKEND_CORS_ORIGINS", 'must be a JSON list, for example ["https://app.example.com"]')
            return []
        return [origin.rstrip("/") for origin in origins]
    return [origin.strip().rstrip("/") for origin in env.str("CORS_ORIGINS", "*").split(",") if origin.strip()]


_origins = _cors_origins()
CORS_ALLOW_ALL_ORIGINS = "*" in _origins
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else _origins
for _origin in CORS_ALLOWED_ORIGINS:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", _origin):
        env.fault("CORS_ORIGINS", f"{_origin!r} is not an origin such as https://app.example.com")
CORS_ALLOW_CREDENTIALS = not CORS_ALLOW_ALL_ORIGINS
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "user-agent",
    "x-csrftoken",
    "x-request-id",
    "x-requested-with",
]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "Retry-After", "ETag"]
CORS_PREFLIGHT_MAX_AGE = 3600

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEVELOPMENT
SESSION_COOKIE_NAME = "edgechat_admin"
# The cookie holds the whole session; only the project's own table records whether a login is still valid.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
SESSION_COOKIE_AGE = 12 * 3600  # accounts.staff.sessions.LIFETIME
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CSP_MODE = env.str("CSP_MODE", "strict", validate=OneOf(["strict", "relaxed", "disabled"]))
SECURE_CROSS_ORIGIN_OPENER_POLICY = None  # edgechat.http.security_headers adds it
# Sent over https only. TLS ends at the proxy, which reports it by X-Forwarded-Proto (TRUSTED_PROXY_COUNT).
SECURE_HSTS_SECONDS = 0 if DEVELOPMENT else 365 * 24 * 3600

INSTALLED_APPS = [
    # Unfold's templates must come before Django's; the admin site is the project's own (accounts.staff.site).
    "unfold.apps.BasicAppConfig",
    "edgechat.admin_app.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "edgechat.apps.EdgechatConfig",
    "accounts.apps.AccountsConfig",
    "ai.apps.AiConfig",
    "usage.apps.UsageConfig",
    "conversations.apps.ConversationsConfig",
]

MIDDLEWARE = [
    "edgechat.http.request_id.RequestIDMiddleware",
    # First, because their headers belong on the answers of the other middleware too.
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "edgechat.http.security_headers.SecurityHeadersMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "edgechat.http.static_files.StaticFilesMiddleware",
    "edgechat.http.trailing_slash.TrailingSlashMiddleware",
    "edgechat.http.rate_limit.RateLimitMiddleware",
    "edgechat.http.options.OptionsMiddleware",
    "usage.requests.middleware.CountRequestsMiddleware",
    "edgechat.http.admission.AdmissionMiddleware",
    "edgechat.http.admin_middleware.AdminSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "edgechat.http.admin_middleware.AdminBodyMiddleware",
    "edgechat.http.admin_middleware.AdminCsrfMiddleware",
    "accounts.staff.sessions.AdminAuthenticationMiddleware",
    "edgechat.http.admin_middleware.AdminMessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

STATIC_URL = "/static/"
# A checkout has no collected files: WhiteNoise finds them in the packages.
STATIC_ROOT = None if DEVELOPMENT else BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEVELOPMENT
WHITENOISE_ROOT = BASE_DIR / "edgechat" / "root"  # /favicon.ico, which browsers request by themselves
# Views serve users' files and check who owns them; the files have no public addresses.
MEDIA_ROOT = DATA_DIR / "media"
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700
S3_BUCKET = env.str("S3_BUCKET", "")
_s3_options = {
    "bucket_name": S3_BUCKET,
    "endpoint_url": env.str("S3_ENDPOINT_URL", "") or None,
    "region_name": env.str("S3_REGION", "") or None,
    "access_key": env.str("S3_ACCESS_KEY_ID", "") or None,
    "secret_key": env.str("S3_SECRET_ACCESS_KEY", "") or None,
    "default_acl": None,
    "querystring_auth": True,
}
STORAGES = {
    "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _s3_options}
    if S3_BUCKET
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedStaticFilesStorage"
    },
}

AUTH_USER_MODEL = "accounts.User"
# A constraint on email_key, which this check cannot see, makes the e-mail unique.
# FILE_UPLOAD_TEMP_DIR is created when it is first needed (edgechat.http.uploads).
# TLS ends at the proxy, which also redirects http, and the application must not bind other hosts of a domain to https.
# Only the admin has cookies that a forged request could use: AdminCsrfMiddleware.
SILENCED_SYSTEM_CHECKS = [
    *("auth.E003", "auth.W004", "files.E001"),
    *("security.W003", "security.W005", "security.W008", "security.W021"),
]
PASSWORD_HASHERS = [
    "accounts.login.password_hashers.OwaspArgon2PasswordHasher",
    "accounts.login.password_hashers.ImportedBCryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = (
    [] if DEVELOPMENT else [{"NAME": "accounts.login.passwords.NormalizedCommonPasswordValidator"}]
)
FIRST_SUPERUSER_EMAIL = env.str("FIRST_SUPERUSER_EMAIL", "")
FIRST_SUPERUSER_PASSWORD = env.str("FIRST_SUPERUSER_PASSWORD", "")
if bool(FIRST_SUPERUSER_EMAIL) != bool(FIRST_SUPERUSER_PASSWORD):
    env.fault("FIRST_SUPERUSER_EMAIL", "goes with FIRST_SUPERUSER_PASSWORD: set both or neither")

EMAIL_URL = env.str("EMAIL_URL", "")
# In production without EMAIL_URL no e-mail is sent, and a system check reports that.
_email: dict[str, Any] = dj_email_url.parse(EMAIL_URL or ("console:" if DEVELOPMENT else "dummy:"))
if "EMAIL_BACKEND" not in _email:
    env.fault("EMAIL_URL", "must look like submission://user:password@mail.example.com:587")
EMAIL_BACKEND = _email.get("EMAIL_BACKEND", "")
EMAIL_HOST, EMAIL_PORT = _email["EMAIL_HOST"] or "localhost", _email["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _email["EMAIL_HOST_USER"] or "", _email["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _email["EMAIL_USE_TLS"], _email["EMAIL_USE_SSL"]
EMAIL_FILE_PATH = _email["EMAIL_FILE_PATH"] or None
EMAIL_TIMEOUT = 10
_mail_host = re.sub(r"^https?://|:.*$", "", PUBLIC_URL) or "localhost"
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM", "") or f"no-reply@{_mail_host}"

MAX_REPLIES_PER_USER = env.int("MAX_REPLIES_PER_USER", 10, validate=Range(min=1))
MAX_STREAMS_PER_USER = env.int("MAX_STREAMS_PER_USER", 20, validate=Range(min=1))
MAX_ATTACHMENTS = env.int("MAX_ATTACHMENTS", 2000, validate=Range(min=1))
ATTACHMENT_QUOTA_MB = env.int("ATTACHMENT_QUOTA_MB", 500, validate=Range(min=1))
MAX_CONVERSATIONS = env.int("MAX_CONVERSATIONS", 10_000, validate=Range(min=1))
USAGE_RAW_DAYS = env.int("USAGE_RAW_DAYS", 90, validate=Range(min=1))
GRACEFUL_TIMEOUT = env.int("GRACEFUL_TIMEOUT", 30, validate=Range(min=1, max=3600))

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["edgechat.date_formats"]  # the admin's
USE_TZ = True
USE_I18N = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.AccessTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["edgechat.http.json_body.JSONBodyRenderer"],
    "DEFAULT_PARSER_CLASSES": ["edgechat.http.json_body.JSONBodyParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "edgechat.http.json_body.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "edgechat.openapi.schema.BodySchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "edgechat.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    "NON_FIELD_ERRORS_KEY": "non_field_errors",
}

SPECTACULAR_SETTINGS = {
    "TITLE": APP_NAME,
    "DESCRIPTION": "The backend of a mobile AI chat app: accounts, conversations, the model, usage.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "/static/edgechat/icon.svg",
    "REDOC_DIST": "/redoc",  # edgechat.openapi.redoc
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "UserRole": ["user", "admin"],
        "OrganizationRole": ["owner", "admin", "member"],
        "MemberStatus": ["active", "invited"],
        "MessageOutputRoleEnum": "conversations.documents.ROLES",
        "MessageOutputStatusEnum": "conversations.documents.STATUSES",
    },
}


def _page(title: str, icon: str, model: str) -> dict[str, Any]:
    """An entry of the admin's sidebar; `model` is `app.model`. Shown to users who may see the page."""
    app, _, name = model.partition(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": lambda request: any(
            request.user.has_perm(f"{app}.{action}_{name}") for action in ("view", "change")
        ),
    }


UNFOLD = {
    "SITE_TITLE": APP_NAME,
    "SITE_HEADER": APP_NAME,
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("edgechat/icon.svg")},
    ],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "usage.staff.dashboard_page.add_dashboard",
    "SIDEBAR": {
        "navigation": [
            {
                "items": [
                    {**_page("Dashboard", "monitoring", "usage.ledgerentry"), "link": reverse_lazy("admin:index")}
                ],
            },
            {
                "title": "People",
                "separator": True,
                "items": [
                    _page("Users", "person", "accounts.user"),
                    _page("Sessions", "devices", "accounts.session"),
                    _page("Organizations", "corporate_fare", "accounts.organization"),
                    {
                        **_page("Groups", "shield_person", "auth.group"),
                        "permission": lambda request: request.user.is_superuser,
                    },
                ],
            },
            {
                "title": "Chat",
                "separator": True,
                "items": [
                    _page("Conversations", "chat", "conversations.conversation"),
                    _page("Todos", "checklist", "conversations.todo"),
                ],
            },
            {
                "title": "Usage",
                "separator": True,
                "items": [
                    _page("Hourly usage", "bar_chart", "usage.hourlyusage"),
                    _page("Requests", "swap_horiz", "usage.requestrecord"),
                    _page("Ledger", "receipt_long", "usage.ledgerentry"),
                    _page("Organization usage", "domain", "usage.organizationusage"),
                    _page("Daily traffic", "calendar_month", "usage.dailytraffic"),
                    _page("Budgets", "savings", "usage.budget"),
                    _page("Spending", "account_balance_wallet", "usage.spending"),
                    _page("Prices", "sell", "usage.modelprice"),
                ],
            },
            {
                "title": "Audit",
                "separator": True,
                "items": [_page("Audit events", "history", "accounts.auditevent")],
            },
        ],
    },
}

LOGGING_CONFIG = None  # edgechat.logs configures Django's own loggers and the project's.
configure_logging(level=LOG_LEVEL or "INFO", as_json=not DEVELOPMENT)

env.finish()
