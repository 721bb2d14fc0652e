"""The calls for pictures that are attached to messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.parsing.limits import MAX_PICTURE_BYTES
from ai.vision.pictures import TOO_MANY_BYTES
from conversations.attachments.files import AttachmentNotFound, open_file
from conversations.attachments.queries import attachment_body, get_readable_attachment
from conversations.attachments.services import delete_attachment, store_attachment
from conversations.documents import AttachmentOutput
from conversations.serializers import AttachmentQuery
from edgechat.errors import Invalid, PermissionDenied
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Created, NoContent
from edgechat.http.file_response import RangeNotSatisfiable, file_response
from edgechat.http.idempotency import IDEMPOTENCY_KEY, IdempotencyConflict, idempotency_key
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.uploads import UploadParser
from edgechat.http.validation import validated_query
from edgechat.openapi.notes import extend_schema, raises, sends

_UPLOAD = {
    "multipart/form-data": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary", "description": "The picture."}},
    }
}


RANGE = OpenApiParameter("Range", location="header", description="One part of the file, such as `bytes=0-1023`.")
IF_NONE_MATCH = OpenApiParameter("If-None-Match", location="header", description="The `ETag` of the client's copy.")


class AttachmentsView(APIView):
    parser_classes = (UploadParser,)
    max_upload_bytes = MAX_PICTURE_BYTES
    too_large = TOO_MANY_BYTES
    throttle_classes = (AuthRateThrottle,)

    @extend_schema(
        operation_id="attachment_create",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY],
        request=_UPLOAD,
    )
    @raises(IdempotencyConflict, AttachmentNotFound)
    def post(self, request: AuthenticatedRequest) -> Created[AttachmentOutput]:
        """Upload a picture.

        JPEG, PNG, WebP, GIF and HEIC are accepted, with at most 10 MB and 40 megapixels. The picture is stored upright
        and without metadata, as JPEG or PNG; the same picture is stored once. A picture that is not sent with a message
        is deleted after 24 hours.
        """
        files = request.FILES.getlist("file")
        if len(files) != 1:
            raise Invalid({"body.file": "One file is required." if not files else "One file at a time."})
        attachment = store_attachment(owner_id=request.user.pk, file=files[0], idempotency_key=idempotency_key(request))
        return Created(attachment_body(attachment))


class AttachmentView(APIView):
    @extend_schema(
        operation_id="attachment_get",
        tags=["chat"],
        parameters=[AttachmentQuery, RANGE, IF_NONE_MATCH],
        responses={
            (200, "image/jpeg"): OpenApiTypes.BINARY,
            (200, "image/png"): OpenApiTypes.BINARY,
            (206, "image/jpeg"): OpenApiTypes.BINARY,
            (206, "image/png"): OpenApiTypes.BINARY,
            304: None,
        },
    )
    @sends("ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition", on=(200, 206, 304))
    @sends("Content-Range", on=(206,))
    @raises(AttachmentNotFound, RangeNotSatisfiable)
    def get(self, request: AuthenticatedRequest, attachment_id: str) -> HttpResponseBase:
        """Download a picture.

        The answer is the picture, or a thumbnail of at most 256 pixels. It never changes, so clients may keep it: with
        its `ETag` as `If-None-Match` the answer is 304 without a body. With `Range` the answer is 206 with one part.
        """
        thumb = validated_query(AttachmentQuery, request)["size"] == "thumb"
        attachment = get_readable_attachment(user_id=request.user.pk, attachment_id=attachment_id)
        file, size, mime_type = open_file(attachment.id, "thumb" if thumb else "stored")
        etag = attachment.sha256 + "t" * thumb
        response = file_response(request._request, file, size=size, mime_type=mime_type, etag=etag)
        if isinstance(response, StreamingHttpResponse):
            with open_call(request) as call:
                response.streaming_content = call.body(cast("Iterable[bytes]", response.streaming_content))
        return response

    @extend_schema(operation_id="attachment_delete", tags=["chat"])
    @raises(AttachmentNotFound, PermissionDenied)
    def delete(self, request: AuthenticatedRequest, attachment_id: str) -> NoContent:
        """Delete a picture.

        This works even if the picture was sent. Its messages stay, and still list it.
        """
        delete_attachment(owner_id=request.user.pk, attachment_id=attachment_id)
        return NoContent()
