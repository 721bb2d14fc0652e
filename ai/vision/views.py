"""POST /ai/vision: questions about pictures, outside any conversation."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.views import APIView

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.calls.answer_response import answer_response
from ai.complete.services import PictureAnswer
from ai.parsing.limits import MAX_PICTURE_BYTES
from ai.serializers import MAX_PROMPT_CHARACTERS, VisionOutput
from ai.services import ONE_OFF_ERRORS, image_body
from ai.vision.pictures import TOO_MANY_BYTES, read_picture
from edgechat.errors import Error, Invalid
from edgechat.http.bodies import Events
from edgechat.http.event_stream import STREAM, DeltaOutput, wants_event_stream
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.uploads import UploadParser
from edgechat.http.validation import validated_body
from edgechat.openapi.schema import raises
from edgechat.sandbox.places import working_for

MAX_PICTURES = 5
DEFAULT_PROMPT = "Describe what this shows, and write down what is written on it."


class VisionInput(serializers.Serializer[Any]):
    prompt = serializers.CharField(
        max_length=MAX_PROMPT_CHARACTERS, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class VisionView(APIView):
    parser_classes = (UploadParser,)
    throttle_classes = (AuthRateThrottle,)
    max_upload_bytes = MAX_PICTURES * MAX_PICTURE_BYTES
    too_large = TOO_MANY_BYTES

    @extend_schema(
        operation_id="ai_vision",
        tags=["ai"],
        parameters=[STREAM],
        request={
            "multipart/form-data": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                        "maxItems": MAX_PICTURES,
                    },
                    "prompt": {"type": "string", "maxLength": MAX_PROMPT_CHARACTERS},
                },
            }
        },
        responses={
            (200, "application/json"): VisionOutput,
            (200, "text/event-stream"): Events(delta=DeltaOutput, done=VisionOutput, error=Error),
        },
        examples=[
            OpenApiExample(
                "Answer",
                value={
                    "text": "The total on the receipt is 12.80.",
                    "model": "gemini-3.5-flash-lite",
                    "usage": {
                        "input_tokens": 271,
                        "output_tokens": 11,
                        "total_tokens": 282,
                        "cached_tokens": 0,
                        "thinking_tokens": 0,
                        "estimated": False,
                    },
                    "images": [
                        {
                            "id": None,
                            "mime_type": "image/jpeg",
                            "width": 1200,
                            "height": 1600,
                            "bytes": 348112,
                            "sha256": "9f2feb0f1ef425b292f2f94bdc3b4e1a6ef4b1f3a0f1c8a3f9d2b7e6c5d4a3b2",
                        }
                    ],
                },
                response_only=True,
            )
        ],
    )
    @raises(*ONE_OFF_ERRORS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model about one to five pictures. They are not stored.

        With `Accept: text/event-stream` or `?stream=true` the answer comes as `delta` events, then `done`. Closing the
        connection ends the call.
        """
        data = validated_body(VisionInput, request)
        files = request.FILES.getlist("image")
        if not 1 <= len(files) <= MAX_PICTURES:
            raise Invalid({"body.image": f"From 1 to {MAX_PICTURES} pictures are needed."})
        with open_call(request, events=wants_event_stream(request), reply=True) as call:
            images, shown = [], []
            for file in files:
                with working_for(request.user.pk):
                    picture = read_picture(file)
                images.append(image_body(picture))
                shown.append(picture.for_model)
            answer = PictureAnswer(
                user_id=request.user.pk,
                pictures=shown,
                images=images,
                prompt=data["prompt"].strip() or DEFAULT_PROMPT,
            )
            return answer_response(request, answer, call)
