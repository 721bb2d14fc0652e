"""Sessions and the rotation of their token pairs.

A session's pairs are numbered. Refreshing with the newest pair makes the next; refreshing with an older one gives its
successor again while that is unused (the client lost the answer), for 24 hours at most, and for 10 seconds after the
successor's first use (requests that were under way). Beyond that somebody holds a token that was already replaced, and
the session ends with all its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.audit import record_event
from accounts.login.tokens import Claims, TokenExpired, TokenInvalid, access_token_seconds_left, make_token, read_token
from accounts.models import AuditEvent, Session, SessionQuerySet, TokenPair, User
from accounts.open_calls.endings import EVERYBODY, tell_ended, user_subject
from edgechat.errors import ApiError, NotAuthenticated
from edgechat.http.client_address import Caller

SUCCESSOR_UNUSED_FOR = timedelta(hours=24)
GRACE_AFTER_FIRST_USE = timedelta(seconds=10)


class RefreshInvalid(ApiError):
    status, code, detail = 401, "refresh_invalid", "Invalid or expired refresh token"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class RefreshExpired(RefreshInvalid):
    """Told apart for older clients alone (accounts.older_clients.cookie_views)."""


class SessionEnded(NotAuthenticated):
    code, detail = "token_revoked", "The session has ended"


class AccountChanged(SessionEnded):
    """The account was deleted, shut out or given another password after its password had been checked."""


@dataclass(frozen=True)
class IssuedTokens:
    """`expires_in`: seconds until the access token expires."""

    access_token: str
    refresh_token: str
    expires_in: int


def start_session(*, user: User, caller: Caller, device_name: str = "") -> IssuedTokens:
    """Make a session for a user who has shown who they are, and its first token pair. Raises AccountChanged.

    Beyond MAX_SESSIONS_PER_USER the oldest ends.
    """
    now = timezone.now()
    with transaction.atomic():
        # Locked, as whoever ends all of a user's sessions changes the user's row first: none begins behind their back.
        holder = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True).first()
        if holder is None or holder.password != user.password:
            raise AccountChanged
        session = Session.objects.create(
            user=user,
            device_name=device_name,
            user_agent=caller.user_agent,
            ip=caller.address or None,
            expires_at=now + settings.REFRESH_TOKEN_LIFETIME,
        )
        TokenPair.objects.create(session=session, generation=0, issued_at=now)
        User.objects.filter(pk=user.pk).update(last_login=now)
        end_surplus(user_id=user.pk, caller=caller)
    return _tokens(session, user, generation=0, issued_at=now, now=now)


def refresh_session(*, refresh_token: str, caller: Caller) -> IssuedTokens:
    """The pair that follows this token's, by compare-and-set. Raises RefreshInvalid; reuse ends the session."""
    try:
        claims = read_token(refresh_token, "refresh")
    except TokenExpired:
        raise RefreshExpired from None
    except TokenInvalid:
        raise RefreshInvalid from None
    sessions = Session.objects.select_related("user").filter(kind=Session.Kind.API, user_id=claims.user_id)
    session = sessions.filter(pk=claims.session_id).first()
    if session is None or session.ended_at is not None or not session.user.is_active:
        raise RefreshInvalid
    now = timezone.now()
    mark_pair_used(session.pk, claims.generation)
    if claims.generation == session.generation:
        _rotate(session, claims, now)
    successor = TokenPair.objects.filter(session=session, generation=claims.generation + 1).first()
    if successor is None or not _may_be_given_again(successor, now):
        if end_session(session_id=session.pk, user_id=session.user_id, reason="refresh_reused"):
            event = AuditEvent.Event.REFRESH_REUSED
            record_event(event, caller=caller, user_id=session.user_id, session=str(session.pk))
        raise RefreshInvalid
    return _tokens(session, session.user, generation=successor.generation, issued_at=successor.issued_at, now=now)


def mark_pair_used(session_id: UUID, generation: int) -> None:
    """Remember the first use of a pair; later calls change nothing."""
    TokenPair.objects.filter(session_id=session_id, generation=generation, first_used_at=None).update(
        first_used_at=timezone.now()
    )
    Session.objects.filter(pk=session_id, used_generation__lt=generation).update(used_generation=generation)


def end_session(*, session_id: UUID, user_id: int, reason: str) -> bool:
    """End a user's session with all its tokens, now and on every process; False if it was over, or is another's."""
    ended = _end(Session.objects.live().filter(pk=session_id, user_id=user_id), reason)
    tell_ended(user_subject(user_id))
    return bool(ended)


def end_all_sessions(*, user_id: int, reason: str, but: UUID | None = None) -> int:
    """End a user's sessions, but perhaps the one in use; how many were ended."""
    sessions = Session.objects.live().filter(user_id=user_id)
    if but is not None:
        sessions = sessions.exclude(pk=but)
    ended = _end(sessions, reason)
    tell_ended(user_subject(user_id))
    return ended


def end_everybodys_sessions(*, reason: str) -> int:
    """End all sessions of all users; how many were ended."""
    ended = _end(Session.objects.live(), reason)
    tell_ended(EVERYBODY)
    return ended


def _end(sessions: SessionQuerySet, reason: str) -> int:
    return sessions.update(ended_at=timezone.now(), end_reason=reason)


def end_surplus(*, user_id: int, caller: Caller) -> None:
    """End a user's oldest sessions, as far as there are more than MAX_SESSIONS_PER_USER."""
    live = Session.objects.live().filter(user_id=user_id).order_by("-created_at", "-pk")
    for session_id in live.values_list("pk", flat=True)[settings.MAX_SESSIONS_PER_USER :]:
        if end_session(session_id=session_id, user_id=user_id, reason="too_many_sessions"):
            event = AuditEvent.Event.SESSION_ENDED
            record_event(event, caller=caller, user_id=user_id, session=str(session_id), reason="too_many_sessions")


def end_admin_sessions(*, user_id: int, reason: str) -> int:
    """End a user's logins to the admin; how many were ended."""
    ended = _end(Session.objects.live().filter(user_id=user_id, kind=Session.Kind.ADMIN), reason)
    tell_ended(user_subject(user_id))
    return ended


def _rotate(session: Session, claims: Claims, now: datetime) -> None:
    """Make the next pair, unless another request has just made it; both then answer with the same one."""
    with transaction.atomic():
        current = Session.objects.live().filter(pk=session.pk, generation=claims.generation)
        if current.update(
            generation=claims.generation + 1, last_used_at=now, expires_at=now + settings.REFRESH_TOKEN_LIFETIME
        ):
            TokenPair.objects.create(session=session, generation=claims.generation + 1, issued_at=now)
    # Pairs whose grace is over can only be theft; without their row they are. This bounds the rows per session.
    TokenPair.objects.filter(
        session=session, generation__lt=claims.generation, first_used_at__lt=now - GRACE_AFTER_FIRST_USE
    ).delete()


def _may_be_given_again(pair: TokenPair, now: datetime) -> bool:
    if pair.first_used_at is not None:
        return now - pair.first_used_at <= GRACE_AFTER_FIRST_USE
    return now - pair.issued_at <= SUCCESSOR_UNUSED_FOR


def _tokens(session: Session, user: User, *, generation: int, issued_at: datetime, now: datetime) -> IssuedTokens:
    access, refresh = (
        make_token(
            kind,
            user_id=user.pk,
            role=user.role,
            session_id=session.pk,
            generation=generation,
            issued_at=issued_at,
        )
        for kind in ("access", "refresh")
    )
    return IssuedTokens(access, refresh, access_token_seconds_left(issued_at, now=now))
