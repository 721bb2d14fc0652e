"""Counts each answered request of a signed-in user, except health checks."""

from __future__ import annotations

from contextlib import suppress

from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from accounts.authentication import authenticate_request
from edgechat.errors import NotAuthenticated
from edgechat.http.request_state import state_of
from usage.requests.request_stream import AnsweredRequest
from usage.requests.services import record_request


def count_answered(request: HttpRequest, response: HttpResponseBase, *, milliseconds: int) -> None:
    """Count a request that took this long, if it has a valid token. `edgechat.http.middleware` calls it."""
    user_id = _user_id(request)
    if user_id is not None:
        match = request.resolver_match
        record_request(
            AnsweredRequest(
                user_id=user_id,
                at=timezone.now(),
                method=request.method or "",
                route=match.route if match else "",
                status=response.status_code,
                milliseconds=milliseconds,
                request_id=state_of(request).request_id,
                is_long=state_of(request).is_long,
                reason=state_of(request).error if response.status_code >= 400 else "",
            )
        )


def _user_id(request: HttpRequest) -> int | None:
    """The user of a request. If no view was reached (unknown path, body too large), the token is read here."""
    state = state_of(request)
    if not state.token_checked and "HTTP_AUTHORIZATION" in request.META:
        with suppress(NotAuthenticated, DatabaseError):
            authenticate_request(request)
    return state.authenticated_user_id
