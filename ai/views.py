"""Completions, and the list of models."""

from __future__ import annotations

from django.http.response import HttpResponseBase

from accounts.requests import AuthenticatedRequest
from ai.calls.responses import describe, describe_stream, respond
from ai.complete.services import TextAnswer
from ai.gemini import ModelError, ModelQuotaExceeded
from ai.queries import list_models
from ai.serializers import COMPLETION_EVENTS, CompleteInput, CompletionOutput, ModelsOutput
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, raises


class CompleteView(APIView):
    @describe("ai_complete", CompleteInput, CompletionOutput, COMPLETION_EVENTS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model a single question.

        The question and its answer belong to no conversation and are not stored. With `Accept: text/event-stream` or
        `?stream=true` the answer comes as the events of `ai_complete_stream`.

        Closing the connection, or ending the session, ends the call. If the server caches answers, the same prompt gets
        the same answer again, with `cached` true and a usage of zeros, because it used no tokens.
        """
        return _complete(request)


class CompleteStreamView(APIView):
    @describe_stream("ai_complete_stream", CompleteInput, COMPLETION_EVENTS)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Ask the model a single question, as events.

        The answer comes as some `delta`, then `done`, which has the body that `ai_complete` answers. Closing the
        connection, or ending the session, ends the call.
        """
        return _complete(request, streamed=True)


def _complete(request: AuthenticatedRequest, *, streamed: bool | None = None) -> HttpResponseBase:
    answer = TextAnswer(user_id=request.user.pk, **validated_body(CompleteInput, request))
    return respond(request, lambda _: answer, streamed=streamed)


class ModelsView(APIView):
    @extend_schema(operation_id="ai_models", tags=["ai"])
    @raises(ModelError, ModelQuotaExceeded)
    def get(self, request: AuthenticatedRequest) -> Answer[ModelsOutput]:
        """List the available models.

        The one in use comes first. Clients cannot choose another one.
        """
        return Answer(ModelsOutput(models=list_models()))
