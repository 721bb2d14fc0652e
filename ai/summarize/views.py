"""POST /ai/summarize."""

from __future__ import annotations

from functools import partial

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.views import APIView

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.calls.answer_response import answer_response
from ai.serializers import ProgressOutput, SummaryOutput
from ai.services import ONE_OFF_ERRORS
from ai.summarize.prompts import SummaryOptions
from ai.summarize.serializers import SOURCES, SummarizeInput
from ai.summarize.services import SummaryAnswer
from ai.summarize.sources import read_source
from edgechat.errors import Error, NotFound
from edgechat.http.bodies import Events
from edgechat.http.event_stream import STREAM, DeltaOutput, wants_event_stream
from edgechat.http.validation import validated_body
from edgechat.openapi.schema import raises


class SummarizeView(APIView):
    # For a million characters of UTF-8.
    max_json_bytes = 4 * 1024 * 1024

    @extend_schema(
        operation_id="ai_summarize",
        tags=["ai"],
        parameters=[STREAM],
        request=SummarizeInput,
        responses={
            (200, "application/json"): SummaryOutput,
            (200, "text/event-stream"): Events(
                progress=ProgressOutput, delta=DeltaOutput, done=SummaryOutput, error=Error
            ),
        },
        examples=[
            OpenApiExample(
                "Page",
                value={"url": "https://example.com/", "style": "bullets", "max_words": 60, "language": "German"},
                request_only=True,
            ),
            OpenApiExample(
                "Summary",
                value={
                    "summary": "- Die Domain darf in Dokumenten als Beispiel stehen.",
                    "finish_reason": "STOP",
                    "source": {
                        "kind": "url",
                        "url": "https://example.com/",
                        "title": "Example Domain",
                        "words": 28,
                    },
                    "usage": {
                        "input_tokens": 96,
                        "output_tokens": 14,
                        "total_tokens": 110,
                        "cached_tokens": 0,
                        "thinking_tokens": 0,
                        "estimated": False,
                    },
                    "cached": False,
                },
                response_only=True,
            ),
        ],
    )
    @raises(*ONE_OFF_ERRORS, NotFound)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Summarize exactly one of a text, a page of the public web, or one of the user's conversations.

        A source that is too long for one call is summarized in parts, and then the parts' summaries are summarized;
        nothing is left out. With `Accept: text/event-stream` or `?stream=true`, `progress` events `{"done", "total"}`
        report the finished parts; `total` grows if the parts' summaries are again too long for one call. Then come
        `delta` events and `done` with the summary. Closing the connection ends all calls. If the server caches answers,
        the same source with the same options gets the same summary, with `cached` true and a usage of zeros, because
        it used no tokens.
        """
        options = validated_body(SummarizeInput, request)
        wanted = {name: options.pop(name) for name in SOURCES}
        with open_call(request, events=wants_event_stream(request), reply=True) as call:
            source = call.run(partial(read_source, user_id=request.user.pk, **wanted))
            answer = SummaryAnswer(user_id=request.user.pk, source=source, options=SummaryOptions(**options))
            return answer_response(request, answer, call)
