"""POST /ai/summarize."""

from __future__ import annotations

from functools import partial

from django.http.response import HttpResponseBase

from accounts.authentication import require_scope
from accounts.open_calls.registry import OpenCall
from accounts.requests import AuthenticatedRequest
from ai.calls.responses import describe, describe_stream, respond
from ai.gemini import ModelOutputInvalid
from ai.serializers import SUMMARY_EVENTS, SummaryOutput
from ai.summarize.prompts import SummaryOptions
from ai.summarize.queries import read_source
from ai.summarize.serializers import SOURCES, SummarizeInput
from ai.summarize.services import SummaryAnswer
from edgechat.errors import NotFound
from edgechat.http.api_view import APIView
from edgechat.http.validation import validated_body


class SummarizeView(APIView):
    # For a million characters of UTF-8.
    max_json_bytes = 4 * 1024 * 1024

    @describe("ai_summarize", SummarizeInput, SummaryOutput, SUMMARY_EVENTS, NotFound, ModelOutputInvalid)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Summarize a text, a page or a conversation.

        Exactly one of `text`, `url` and `conversation_id` is needed. A source that is too long for one call is
        summarized in parts, and then the parts' summaries are summarized; nothing is left out. With `Accept:
        text/event-stream` or `?stream=true` the summary comes as the events of `ai_summarize_stream`.

        Closing the connection, or ending the session, ends all calls. If the server caches answers, the same source
        with the same options gets the same summary, with `cached` true and a usage of zeros, because it used no tokens.
        An API key needs the scope `chat` too for a conversation.
        """
        return _summarize(request)


class SummarizeStreamView(SummarizeView):
    @describe_stream("ai_summarize_stream", SummarizeInput, SUMMARY_EVENTS, NotFound, ModelOutputInvalid)
    def post(self, request: AuthenticatedRequest) -> HttpResponseBase:
        """Summarize a text, a page or a conversation, as events.

        Exactly one of `text`, `url` and `conversation_id` is needed. While parts of a long source are summarized,
        `progress` events report the finished ones. Then come some `delta` and `done`, which has the body that
        `ai_summarize` answers. Closing the connection, or ending the session, ends all calls.
        """
        return _summarize(request, streamed=True)


def _summarize(request: AuthenticatedRequest, *, streamed: bool | None = None) -> HttpResponseBase:
    options = validated_body(SummarizeInput, request)
    given = {name: options.pop(name) for name in SOURCES}
    if given["conversation_id"] is not None:
        require_scope(request.auth, "chat")

    def prepare(call: OpenCall) -> SummaryAnswer:
        source = call.run(partial(read_source, user_id=request.user.pk, **given))
        return SummaryAnswer(user_id=request.user.pk, source=source, options=SummaryOptions(**options))

    return respond(request, prepare, streamed=streamed)
