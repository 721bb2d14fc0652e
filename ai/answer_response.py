"""An answer of the model's to an HTTP request, in whichever of its two forms the client asked for."""

from __future__ import annotations

from functools import partial

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from ai.answers import Answer
from ai.completion_stream import stream_completion
from edgechat.event_stream import event_stream_response, has_hung_up, wants_event_stream


def answer_response(request: Request, answer: Answer) -> HttpResponseBase:
    """The answer as JSON once it is made, or as events while it is; who closes an event stream ends the calls."""
    if wants_event_stream(request):
        return event_stream_response(stream_completion(answer, partial(has_hung_up, request)), on_close=answer.cancel)
    return Response(answer.run())
