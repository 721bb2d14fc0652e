"""Counts each answered request of a signed-in user, except health checks, and sums up the refused ones of nobody."""

from __future__ import annotations

import time
from contextlib import suppress

from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from accounts.authentication import authenticate_request
from accounts.login.tokens import TokenExpired, TokenInvalid, read_token
from edgechat.errors import NotAuthenticated
from edgechat.http.refusals import count_refusal
from edgechat.http.request_state import state_of
from edgechat.stores import store_time
from usage.requests.request_stream import AnsweredRequest
from usage.requests.services import record_request

# The least time for a token that no view has read. The answer is ready, and may have taken the request's whole time.
READ_SECONDS = 0.5


def count_answered(request: HttpRequest, response: HttpResponseBase, *, milliseconds: int) -> None:
    """Count a request that took this long, if it has a valid token. `edgechat.http.middleware` calls it."""
    user_id = _user_id(request)
    match, reason = request.resolver_match, state_of(request).error if response.status_code >= 400 else ""
    if user_id is not None:
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
                reason=reason,
            )
        )
    elif reason:  # pages, such as the admin's, have none
        count_refusal(response.status_code, reason, route=match.route if match else "")


def count_refused(request: HttpRequest, response: HttpResponseBase) -> None:
    """Count a request that a limit of its address refused, for the user whom its token names.

    The session is not looked up: a flood of refused requests must use no store. `edgechat.http.middleware` calls it.
    """
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    user_id = None
    if scheme.lower() == "bearer":
        with suppress(TokenExpired, TokenInvalid):
            user_id = read_token(token.strip(), "access").user_id
    count_refusal(response.status_code, state_of(request).error, user_id=user_id)


def _user_id(request: HttpRequest) -> int | None:
    """The user of a request. If no view was reached (unknown path, body too large), the token is read here."""
    state = state_of(request)
    if not state.token_checked and "HTTP_AUTHORIZATION" in request.META:
        left = store_time.request_seconds() - (time.monotonic() - state.began_at)
        with suppress(NotAuthenticated, DatabaseError), store_time.at_most(max(left, READ_SECONDS)):
            authenticate_request(request)
    return state.authenticated_user_id
