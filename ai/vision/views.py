"""POST /ai/vision: questions about pictures, outside any conversation."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import serializers

from accounts.requests import AuthenticatedRequest
from ai.calls.responses import describe, describe_stream, respond
from ai.parsing.limits import MAX_PICTURE_BYTES
from ai.serializers import MAX_PROMPT_CHARACTERS, VISION_EVENTS, VisionOutput
from ai.vision.pictures import TOO_MANY_BYTES
from ai.vision.services import PictureAnswer
from edgechat.errors import Invalid
from edgechat.http.api_view import APIView
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.uploads import UploadParser
from edgechat.http.validation import validated_body

MAX_PICTURES = 5
DEFAULT_PROMPT = "Describe what this shows, and write down what is written on it."
_FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": MAX_PICTURES,
            "description": "One to five pictures: JPEG, PNG, WebP, GIF or HEIC, at most 10 MB and 40 megapixels each.",
        },
        "prompt": {
            "type": "string",
            "maxLength": MAX_PROMPT_CHARACTERS,
            "description": "The question about the pictures. Without one, the model describes them.",
        },
    },
}


class VisionInput(serializers.Serializer[Any]):
    prompt = serializers.CharField(
        max_length=MAX_PROMPT_CHARACTERS,
        required=False,
        allow_blank=True,
        default="",
        trim_whitespace=False,
        help_text="The question about the pictures. Without one, the model describes them.",
    )


class VisionView(APIView):
    parser_classes = (UploadParser,)
    throttle_classes = (AuthRateThrottle,)
    max_upload_bytes = MAX_PICTURES * MAX_PICTURE_BYTES
    too_large = TOO_MANY_BYTES

    @describe("ai_vision", {"multipart/form-data": _FORM}, VisionOutput, VISION_EVENTS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model about pictures.

        One to five pictures are sent with the question. They are not stored. With `Accept: text/event-stream` or
        `?stream=true` the answer comes as the events of `ai_vision_stream`. Closing the connection, or ending the
        session, ends the call.
        """
        return _look(request)


class VisionStreamView(VisionView):
    @describe_stream("ai_vision_stream", {"multipart/form-data": _FORM}, VISION_EVENTS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model about pictures, as events.

        The answer to one to five pictures comes as some `delta`, then `done`, which has the body that `ai_vision`
        answers. Closing the connection, or ending the session, ends the call.
        """
        return _look(request, streamed=True)


def _look(request: AuthenticatedRequest, *, streamed: bool | None = None) -> HttpResponseBase:
    prompt = validated_body(VisionInput, request)["prompt"].strip() or DEFAULT_PROMPT
    files = request.FILES.getlist("image")
    if not 1 <= len(files) <= MAX_PICTURES:
        raise Invalid({"body.image": f"From 1 to {MAX_PICTURES} pictures are needed."})
    return respond(
        request, lambda _: PictureAnswer(user_id=request.user.pk, files=files, prompt=prompt), streamed=streamed
    )
