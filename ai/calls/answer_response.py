"""Sends an answer of the model to an HTTP request, in the form that the client asked for."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.open_calls.registry import OpenCall
from ai.calls.answers import Answer
from ai.complete.stream import stream_completion
from edgechat.http.event_stream import event_stream_response, wants_event_stream


def answer_response(request: Request, answer: Answer, call: OpenCall) -> HttpResponseBase:
    """The whole answer as JSON, or a stream of events while the answer is made.

    In both forms, the calls to the model end when the client closes the connection or its session ends.
    """
    call.on_end(answer.cancel)
    if not wants_event_stream(request):
        return Response(call.run(answer.run))
    events = stream_completion(answer, call)
    call.on_close.append(answer.cancel)
    call.keep()
    return event_stream_response(events, on_close=call.close)
