"""The WSGI application that gunicorn serves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
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

        from edgechat.body_time import BODY_SECONDS, BodyTooSlow, time_limit
        from edgechat.uploads import UPLOAD_SECONDS, upload_folder

        # Strangers have nothing to upload.
        upload = (
            environ.get("CONTENT_TYPE", "").lower().startswith("multipart/form-data")
            and environ.get("PATH_INFO", "").startswith("/api/")
            and "HTTP_AUTHORIZATION" in environ
        )
        left = (settings.MAX_UPLOAD_BYTES if upload else settings.MAX_BODY_BYTES) + 1
        body = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (closed with the request)
            max_size=1024 * 1024, dir=str(upload_folder())
        )
        # What comes too slowly ends here, and is answered as a body that ended too early.
        with suppress(BodyTooSlow), time_limit(UPLOAD_SECONDS if upload else BODY_SECONDS):
            while data := environ["wsgi.input"].read(min(left, 64 * 1024)):
                body.write(data)
                left -= len(data)
        environ["CONTENT_LENGTH"] = str(body.tell())
        body.seek(0)
        environ["wsgi.input"] = body
    return _django(environ, start_response)
