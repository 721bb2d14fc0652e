"""The WSGI application that gunicorn serves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from django import db
from django.core.cache import close_caches
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from edgechat.telemetry import spans

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")

_django = get_wsgi_application()
# Django closes the connection at the end of each request, and keeps no queries without DEBUG.
request_started.disconnect(db.reset_queries)
request_started.disconnect(db.close_old_connections)
request_finished.disconnect(close_caches)  # django-redis keeps its connections
request_finished.disconnect(reset_urlconf)  # all requests have the same routes
# Import every view now and not with the first request, so that an application that cannot be imported does not start.
_ = get_resolver().url_patterns


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django, with a body that is read when a view asks for it (`edgechat.http.request_body`).

    Django reads as many bytes as Content-Length says. A chunked body marks its own end, and may have any length.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        environ["CONTENT_LENGTH"] = str(sys.maxsize)
    with spans.request_span(environ) as span:
        response = _django(environ, start_response)
        environ["wsgi.input"].settle()
        if span is not None:
            spans.end_request(span, response, structlog.contextvars.get_contextvars())
    return response
