"""An answer of the model's to an HTTP request, in whichever of its two forms the client asked for."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.open_calls.registry import OpenCall
from ai.calls.answers import Answer
from ai.complete.stream import stream_completion
from edgechat.http.event_stream import event_stream_response, wants_event_stream


def answer_response(request: Request, answer: Answer, call: OpenCall) -> HttpResponseBase:
    """The answer as JSON once it is made, or as events while it is.

    Who closes the connection, or loses the session, under either ends the calls to the model.
    """
    call.on_end(answer.cancel)
    if not wants_event_stream(request):
        return Response(call.run(answer.run))
    events = stream_completion(answer, call)
    call.on_close.append(answer.cancel)
    call.keep()
    return event_stream_response(events, on_close=call.close)
