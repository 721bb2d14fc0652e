"""GET /users/me/export."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample

from accounts.lifecycle.data_export import RECORDS
from accounts.lifecycle.export_response import export_response
from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from edgechat.http.api_view import APIView
from edgechat.openapi.notes import extend_schema, sends


class UserExportView(APIView):
    @extend_schema(
        operation_id="users_me_export",
        tags=["accounts"],
        responses={(200, "application/x-ndjson"): RECORDS},
        examples=[
            OpenApiExample(
                "Lines",
                value='{"type": "account", "id": 7, "email": "ann@example.com"}\n'
                '{"type": "todo", "id": 3, "title": "Water the plants"}\n'
                '{"counts": {"accounts": 1, "conversations": 0, "messages": 0, "todos": 1, "attachments": 0}}\n',
                response_only=True,
                media_type="application/x-ndjson",
            )
        ],
    )
    @sends("Content-Disposition")
    def get(self, request: AuthenticatedRequest) -> StreamingHttpResponse:
        """Export all data of the user.

        The answer is one JSON object per line: `{"type": "message", ...}`, with pictures in Base64. The last line is
        `{"counts": {...}}`, the number of objects of each type. An export without this line is incomplete, for instance
        because its session ended.
        """
        with open_call(request) as call:
            return export_response(request.user, call.body)
