"""OpenAI's protocol, for its clients: set their base URL to `…/api/v1/openai/v1` and their key to an API key."""

from __future__ import annotations

from functools import partial

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter

from accounts.open_calls.registry import HungUp, OpenCall
from accounts.requests import AuthenticatedRequest
from ai.calls.responses import respond
from ai.errors import MODEL_ERRORS
from ai.openai.prompt import ContextTooLong, make_prompt
from ai.openai.queries import get_model, list_models
from ai.openai.request_schema import CHAT_REQUEST
from ai.openai.requests import read_chat
from ai.openai.serializers import CHUNKS, ChatCompletionOutput, OpenAIModelOutput, OpenAIModelsOutput
from ai.openai.services import ChatAnswer, IdempotentRequest
from ai.openai.stream import write_chunks
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer
from edgechat.http.idempotency import IDEMPOTENCY_KEY, IdempotencyConflict, idempotency_key
from edgechat.openapi.notes import extend_schema, raises

MODEL_ID = OpenApiParameter("model_id", location="path")


class ChatCompletionsView(APIView):
    # For pictures as data URLs.
    max_json_bytes = 8 * 1024 * 1024

    @extend_schema(
        operation_id="openai_chat_completions",
        tags=["openai"],
        parameters=[IDEMPOTENCY_KEY],
        request={"application/json": CHAT_REQUEST},
        responses={
            (200, "application/json"): ChatCompletionOutput,
            (200, "text/event-stream"): CHUNKS,
        },
    )
    @raises(*MODEL_ERRORS, HungUp, ContextTooLong, IdempotencyConflict)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Make a chat completion, in OpenAI's protocol.

        It is answered by the configured model whatever `model` says.

        With `stream` the answer comes in chunks, as `data:` lines, then `data: [DONE]`. An error after the first is a
        `data:` line with `error`, and no `[DONE]` follows. A safety block is the finish reason `content_filter`.
        Unknown fields are ignored, and so are penalties and `logprobs`, which the model does not take. Closing the
        connection, or ending the session or the key, ends the call. With an `Idempotency-Key` a closed connection does
        not: the answer is kept for a day, and the same request gets it without a second charge.

        The model's signatures of its function calls are kept for a day and sent back to it with the calls.
        """
        chat = read_chat(request.data)
        key = idempotency_key(request)
        user_id = request.user.pk

        def prepare(call: OpenCall) -> ChatAnswer:
            prompt = call.run(partial(make_prompt, chat, user_id=user_id))
            idempotent = None if key is None else IdempotentRequest.of(key, request.data)
            return ChatAnswer(user_id=user_id, prompt=prompt, request=idempotent)

        return respond(
            request,
            prepare,
            streamed=bool(chat.stream),
            write_events=partial(write_chunks, with_usage=chat.with_usage),
            reconnect=False,
        )


class OpenAIModelsView(APIView):
    @extend_schema(operation_id="openai_models", tags=["openai"])
    def get(self, request: AuthenticatedRequest) -> Answer[OpenAIModelsOutput]:
        """List the models, in OpenAI's form.

        The list has the one model that answers completions.
        """
        return Answer(OpenAIModelsOutput(object="list", data=list_models()))


class OpenAIModelView(APIView):
    @extend_schema(operation_id="openai_model", tags=["openai"], parameters=[MODEL_ID])
    def get(self, request: AuthenticatedRequest, model_id: str) -> Answer[OpenAIModelOutput]:
        """Get a model, in OpenAI's form.

        Another name than that of the configured model is 404.
        """
        return Answer(get_model(model_id))
