"""Requests start in the order of their arrival, a bounded number of them at the same time in each process."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from edgechat.errors import StoreUnavailable, error_response
from edgechat.http.rate_limit import is_unlimited
from edgechat.http.request_state import state_of
from edgechat.processes.threads import begin_work, end_work
from edgechat.stores import store_time


class AdmissionMiddleware:
    """Makes a request wait for its turn to work (`edgechat.processes.threads.begin_work`), for a bounded time.

    Health checks never wait.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if is_unlimited(request.path_info):
            return self.get_response(request)
        began = state_of(request).began_at
        try:
            begin_work(patience=max(0.0, store_time.patience_seconds() - (time.monotonic() - began)))
        except StoreUnavailable as error:
            return error_response(request, error)
        store_time.begin_request(waited=time.monotonic() - began)
        try:
            return self.get_response(request)
        finally:
            end_work()
            store_time.end_request()
