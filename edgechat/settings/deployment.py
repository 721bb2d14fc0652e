"""The environment, the folders, the log.

All other settings depend on these, and use this module's reader of the environment.
"""

from __future__ import annotations

import re
from pathlib import Path

from marshmallow.validate import OneOf, Range

from edgechat.environment import Environment
from edgechat.logs import configure_logging
from edgechat.stores import clock

clock.install()

BASE_DIR = Path(__file__).resolve().parents[2]

env = Environment()
#: Another file in its place.
env.read_file(BASE_DIR / env.str("ENV_FILE", ".env"))

#: `make run` takes `development` if it is unset.
ENVIRONMENT = env.str("ENVIRONMENT", "production", validate=OneOf(["production", "staging", "development"]))
DEVELOPMENT = ENVIRONMENT == "development"
#: The folder of pictures unless `S3_BUCKET` is set, and in development of all data. `/data` in the image.
DATA_DIR = (BASE_DIR / env.path("DATA_DIR", Path(".data"))).resolve()
if DEVELOPMENT:
    # `make run` writes this file: the addresses of the servers that it embeds.
    env.read_file(DATA_DIR / "run.env")

#: The name in the OpenAPI file, in the admin, in e-mails and at `/`.
APP_NAME = env.str("APP_NAME", "EdgeChat Backend")
DEBUG = False  # Django's debug pages break the error shape and print settings, so they are off in development too.
#: The address that clients use, with its scheme: `https://chat.example.com`.
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")
if PUBLIC_URL and not re.fullmatch(r"https?://[^/?#\s]+", PUBLIC_URL):
    env.fault("PUBLIC_URL", "must be an origin such as https://chat.example.com")
#: Seconds that requests and replies have to finish at a stop.
GRACEFUL_TIMEOUT = env.int("GRACEFUL_TIMEOUT", 30, validate=Range(min=1, max=3600))

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["edgechat.date_formats"]  # for the admin
USE_TZ = True
USE_I18N = False

#: The least severe log lines that are written.
LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]))
#: The Bearer token with which Prometheus reads `/metrics`, which is 404 without it. Not needed in development.
METRICS_TOKEN = env.str("METRICS_TOKEN", "")
#: Where traces go: the address of an OpenTelemetry collector, such as `http://collector:4318` (OTLP over HTTP). Unset:
#: none are made.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
if OTEL_EXPORTER_OTLP_ENDPOINT and not re.fullmatch(r"https?://[^?#\s]+", OTEL_EXPORTER_OTLP_ENDPOINT):
    env.fault("OTEL_EXPORTER_OTLP_ENDPOINT", "must be a URL such as http://collector:4318")
#: Where exceptions are reported: a Sentry project. Types and places in the code, without texts, requests and users.
SENTRY_DSN = env.str("SENTRY_DSN", "")
if SENTRY_DSN and not re.fullmatch(r"https?://[^@\s]+@[^/\s]+/\S*\d+", SENTRY_DSN):
    env.fault("SENTRY_DSN", "must look like https://key@sentry.example.com/1")
LOGGING_CONFIG = None  # edgechat.logs configures Django's own loggers and the project's.
configure_logging(level=LOG_LEVEL or "INFO", as_json=not DEVELOPMENT)
