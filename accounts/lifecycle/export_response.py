"""A user's whole data as a downloaded file, written while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.http import StreamingHttpResponse

from accounts.lifecycle.data_export import export_lines
from accounts.models import User
from edgechat.stores.mongo import ping


def export_response(user: User, body: Callable[[Iterable[bytes]], Iterable[bytes]]) -> StreamingHttpResponse:
    """The response with the file. `body` makes its body of the file's lines, and is called when MongoDB has answered.

    Raises MongoUnavailable: an answer that says so is better than a file that breaks off.
    """
    ping()
    response = StreamingHttpResponse(body(export_lines(user)), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="edgechat-{user.pk}.ndjson"'
    response["Cache-Control"] = "no-store"
    return response
