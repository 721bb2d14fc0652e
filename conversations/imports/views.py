"""The calls for imports."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from accounts.requests import AuthenticatedRequest
from conversations.imports.queries import SOURCES, ImportNotFound, ImportOutput, get_import, import_body
from conversations.imports.services import (
    ImportQuotaExceeded,
    TooManyImports,
    check_limits,
    create_import,
    too_large_text,
)
from edgechat.errors import Invalid
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Accepted, Answer
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.uploads import UploadParser
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, raises

_UPLOAD = {
    "multipart/form-data": {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {
                "type": "string",
                "format": "binary",
                "description": "JSON, JSON lines, or an export's .zip.",
            },
            "source": {
                "type": "string",
                "enum": list(SOURCES),
                "description": "Without it, each conversation is recognized by its fields.",
            },
        },
    }
}


class ImportInput(serializers.Serializer[Any]):
    source = serializers.ChoiceField(choices=SOURCES, default=None, allow_null=True)  # type: ignore[assignment]  # the name of a field, as in the body


class ImportsView(APIView):
    parser_classes = (UploadParser,)
    throttle_classes = (AuthRateThrottle,)

    @property
    def max_upload_bytes(self) -> int:
        return settings.IMPORT_MAX_MB * 1024 * 1024

    @property
    def too_large(self) -> str:
        return too_large_text()

    @extend_schema(operation_id="import_create", tags=["chat"], request=_UPLOAD)
    @raises(TooManyImports, ImportQuotaExceeded)
    def post(self, request: AuthenticatedRequest) -> Accepted[ImportOutput]:
        """Import conversations from a file.

        The file is the export of ChatGPT or Claude (`conversations.json`, or the .zip with it) or has the documents of
        the older EdgeChat, as a JSON array or one on each line. The import runs in the background: ask for its progress
        with its id. Conversations that are here from an earlier import are skipped, so a file can be sent again.
        Nothing is charged. A user may import `IMPORT_QUOTA_MB` (1000) of text within 30 days; each import counts as 10
        MB at least.
        """
        check_limits(request.user.pk)  # before the body is read
        files = request.FILES.getlist("file")
        if len(files) != 1:
            raise Invalid({"body.file": "One file is required." if not files else "One file at a time."})
        source = validated_body(ImportInput, request)["source"]
        queued = create_import(owner_id=request.user.pk, file=files[0], source=source)
        return Accepted(import_body(queued))


class ImportView(APIView):
    @extend_schema(operation_id="import_get", tags=["chat"])
    @raises(ImportNotFound)
    def get(self, request: AuthenticatedRequest, import_id: str) -> Answer[ImportOutput]:
        """Get the progress of an import.

        The report is complete when the import has ended. Ended imports are kept for 30 days.
        """
        return Answer(import_body(get_import(owner_id=request.user.pk, import_id=import_id)))
