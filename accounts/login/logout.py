"""How a user ends sessions."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts.audit import record_event
from accounts.login.sessions import end_all_sessions, end_session
from accounts.login.tokens import TokenExpired, TokenInvalid, read_token
from accounts.models import AuditEvent, User
from edgechat.errors import NotFound
from edgechat.http.client_address import Caller


def log_out(*, user_id: int, session_id: UUID, caller: Caller) -> bool:
    """End a session of this user. Returns False if it belongs to another user, or had ended or expired."""
    with transaction.atomic():
        if not end_session(session_id=session_id, user_id=user_id, reason="logged_out"):
            return False
        event = AuditEvent.Event.SESSION_ENDED
        record_event(event, caller=caller, user_id=user_id, actor_id=user_id, session=str(session_id))
    return True


def end_own_session(*, user_id: int, session_id: str, caller: Caller) -> None:
    """End the session whose id is in the path. Raises NotFound."""
    try:
        found = log_out(user_id=user_id, session_id=UUID(session_id), caller=caller)
    except ValueError:
        found = False
    if not found:
        raise NotFound


def log_out_everywhere(*, user_id: int, caller: Caller) -> int:
    """End all sessions of a user. Returns the number of sessions that ended."""
    with transaction.atomic():
        # The lock that a login takes: a simultaneous login either ends with the other sessions or starts after them.
        User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
        ended = end_all_sessions(user_id=user_id, reason="logged_out")
        record_event(AuditEvent.Event.SESSION_ENDED, caller=caller, user_id=user_id, actor_id=user_id, sessions=ended)
    return ended


def log_out_with(refresh_token: str, *, caller: Caller) -> None:
    """End the session of a refresh token. An invalid token changes nothing."""
    try:
        claims = read_token(refresh_token, "refresh")
    except (TokenInvalid, TokenExpired):
        return
    log_out(user_id=claims.user_id, session_id=claims.session_id, caller=caller)
