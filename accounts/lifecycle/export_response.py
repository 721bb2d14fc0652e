"""A user's whole data as a downloaded file, written while it is read."""

from __future__ import annotations

from django.http import StreamingHttpResponse

from accounts.lifecycle.data_export import export_lines
from accounts.models import User
from accounts.open_calls.registry import OpenCall
from edgechat.stores.mongo import ping


def export_response(user: User, call: OpenCall) -> StreamingHttpResponse:
    """The response with the file. It breaks off when the caller loses access.

    Raises MongoUnavailable: an answer that says so is better than a file that breaks off.
    """
    ping()
    response = StreamingHttpResponse(call.body(export_lines(user)), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="edgechat-{user.pk}.ndjson"'
    response["Cache-Control"] = "no-store"
    return response
