"""The WSGI application that gunicorn serves."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")

_django = get_wsgi_application()
# Every view is imported now, not by the first request, and an application that cannot be imported does not start.
_ = get_resolver().url_patterns


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django, with chunked request bodies given the length that it asks for.

    Django reads as many bytes as Content-Length says, so a chunked body would arrive empty. It is read here, to one
    byte above the limit at most, which `edgechat.body_limit` then refuses.
    """
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        from django.conf import settings

        body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return _django(environ, start_response)
