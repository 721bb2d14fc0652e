"""What the middleware knows about a request, kept on the request with types."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

import structlog
from django.http import HttpRequest


@dataclass
class RequestState:
    """What the middleware knows about one request.

    `authenticated_user_id` is None until an access token proved valid; `token_checked` is set once a token was checked.
    `authenticated_at` is the monotonic time just before the valid token's session was checked; `began_at` is that of
    the request's arrival. The duration of a request that `is_long` depends on the model or on its client. `error` is
    what the last error that was answered is recorded as.
    """

    request_id: str
    client_address: str
    authenticated_user_id: int | None = None
    token_checked: bool = False
    authenticated_at: float = 0.0
    began_at: float = field(default_factory=time.monotonic)
    is_static: bool = False
    is_long: bool = False
    error: str = ""


def attach_state(request: HttpRequest, state: RequestState) -> None:
    request.edgechat = state  # type: ignore[attr-defined]


def name_user(user_id: int, session_id: object = None) -> None:
    """Name the user in the log lines of this request from now on. API keys have no session."""
    structlog.contextvars.bind_contextvars(user_id=user_id, session_id=str(session_id) if session_id else None)


def state_of(request: HttpRequest) -> RequestState:
    """The state that RequestMiddleware attached."""
    return cast(RequestState, request.edgechat)  # type: ignore[attr-defined]
