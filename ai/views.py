"""Completions, and the list of models."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.views import APIView

from accounts.open_calls.registry import open_call
from accounts.requests import AuthenticatedRequest
from ai.calls.answer_response import answer_response
from ai.complete.services import PromptAnswer
from ai.gemini.adapter import ModelError, ModelQuotaExceeded, list_models
from ai.serializers import CompleteInput, CompletionOutput, ModelsOutput
from ai.services import ONE_OFF_ERRORS
from edgechat.errors import Error
from edgechat.http.bodies import Answer, Events
from edgechat.http.event_stream import STREAM, DeltaOutput, wants_event_stream
from edgechat.http.validation import validated_body
from edgechat.openapi.schema import raises


class CompleteView(APIView):
    @extend_schema(
        operation_id="ai_complete",
        tags=["ai"],
        parameters=[STREAM],
        request=CompleteInput,
        responses={
            (200, "application/json"): CompletionOutput,
            (200, "text/event-stream"): Events(delta=DeltaOutput, done=CompletionOutput, error=Error),
        },
        examples=[
            OpenApiExample("Question", value={"prompt": "What is a lease?"}, request_only=True),
            OpenApiExample(
                "Answer",
                value={
                    "text": "A lease is a claim that expires unless it is renewed.",
                    "model": "gemini-3.5-flash-lite",
                    "finish_reason": "STOP",
                    "usage": {
                        "input_tokens": 6,
                        "output_tokens": 12,
                        "total_tokens": 18,
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
    @raises(*ONE_OFF_ERRORS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model a single question, outside any conversation.

        With `Accept: text/event-stream` or `?stream=true` the answer comes as `delta` events, then `done`. Closing the
        connection, or ending the session, ends the call. If the server caches answers, the same prompt gets the same
        answer again, with `cached` true and a usage of zeros, because it used no tokens.
        """
        answer = PromptAnswer(user_id=request.user.pk, **validated_body(CompleteInput, request))
        with open_call(request, events=wants_event_stream(request), reply=True) as call:
            return answer_response(request, answer, call)


class ModelsView(APIView):
    @extend_schema(operation_id="ai_models", tags=["ai"])
    @raises(ModelError, ModelQuotaExceeded)
    def get(self, request: AuthenticatedRequest) -> Answer[ModelsOutput]:
        """The available models, the one in use first."""
        return Answer(ModelsOutput(models=list_models()))
