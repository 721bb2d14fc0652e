"""Requests begin in the order in which they come, a bounded number of them at once in a process."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, UnreadablePostError
from django.http.response import HttpResponseBase

from edgechat.body_time import BODY_SECONDS, BodyTooSlow, time_limit
from edgechat.errors import MalformedRequest, error_response
from edgechat.rate_limit import is_unlimited
from edgechat.threads import begin_work, end_work
from edgechat.uploads import is_upload


class AdmissionMiddleware:
    """Makes a request wait for its turn to work (`edgechat.threads.begin_work`); health checks never wait."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_unlimited(request.path_info):
            return self.get_response(request)
        try:
            # Now, within `edgechat.body_limit`: a client that sends slowly must not keep the place of one that works.
            # Files are for `edgechat.uploads`, which does not hold them in memory.
            if not is_upload(request):
                with time_limit(BODY_SECONDS):
                    _ = request.body
        except (UnreadablePostError, BodyTooSlow):
            return error_response(request, MalformedRequest("The body ended too early, or came too slowly"))
        begin_work()
        try:
            return self.get_response(request)
        finally:
            end_work()
