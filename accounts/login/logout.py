"""A user's own sessions, and how they end."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts.audit import record_event
from accounts.login.sessions import end_all_sessions, end_session
from accounts.login.tokens import TokenExpired, TokenInvalid, read_token
from accounts.models import AuditEvent, Session, User
from edgechat.errors import NotFound
from edgechat.http.client_address import Caller

MAX_LISTED = 1000


def list_sessions(*, user_id: int) -> list[Session]:
    """The live sessions of a user, the latest used first, 1000 at most."""
    return list(Session.objects.live().filter(user_id=user_id).order_by("-last_used_at", "id")[:MAX_LISTED])


def log_out(*, user_id: int, session_id: UUID, caller: Caller) -> bool:
    """End a session of this user; False if it is another's, or ended or expired before."""
    with transaction.atomic():
        if not end_session(session_id=session_id, user_id=user_id, reason="logged_out"):
            return False
        event = AuditEvent.Event.SESSION_ENDED
        record_event(event, caller=caller, user_id=user_id, actor_id=user_id, session=str(session_id))
    return True


def end_own_session(*, user_id: int, session_id: str, caller: Caller) -> None:
    """End a session that is named in a path. Raises NotFound."""
    try:
        found = log_out(user_id=user_id, session_id=UUID(session_id), caller=caller)
    except ValueError:
        found = False
    if not found:
        raise NotFound


def log_out_everywhere(*, user_id: int, caller: Caller) -> int:
    """End all sessions of a user; how many there were."""
    with transaction.atomic():
        # As a login does: one that is under way ends with the others, or begins after this.
        User.objects.select_for_update(no_key=True).filter(pk=user_id).first()
        ended = end_all_sessions(user_id=user_id, reason="logged_out")
        record_event(AuditEvent.Event.SESSION_ENDED, caller=caller, user_id=user_id, actor_id=user_id, sessions=ended)
    return ended


def log_out_with(refresh_token: str, *, caller: Caller) -> None:
    """End the session of a refresh token; nothing if that is not good any more."""
    try:
        claims = read_token(refresh_token, "refresh")
    except (TokenInvalid, TokenExpired):
        return
    log_out(user_id=claims.user_id, session_id=claims.session_id, caller=caller)
