"""Sessions and the rotation of their token pairs.

The pairs of a session are numbered. A refresh with the newest pair makes the next one. A refresh with an older pair
returns its successor again, because the client may have lost the answer: for at most 24 hours while the successor is
unused, and for 10 seconds after the first use of the successor (requests that were in flight). A later refresh means
that a client holds a replaced token, so the session ends with all its tokens.
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
from accounts.open_calls.endings import EVERYBODY, announce_end, user_subject
from edgechat.errors import ApiError, NotAuthenticated
from edgechat.http.client_address import Caller
from edgechat.http.request_state import name_user

SUCCESSOR_UNUSED_FOR = timedelta(hours=24)
GRACE_AFTER_FIRST_USE = timedelta(seconds=10)


class RefreshInvalid(ApiError):
    status, code, detail = 401, "refresh_invalid", "Invalid or expired refresh token"
    sends = ("WWW-Authenticate",)

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class RefreshExpired(RefreshInvalid):
    """The refresh token has expired. Only older clients get a message of its own (`older_clients.cookie_views`)."""


class SessionEnded(NotAuthenticated):
    code, detail = "token_revoked", "The session has ended"


class AccountChanged(SessionEnded):
    """The account was deleted, deactivated or given another password after the password check."""


@dataclass(frozen=True)
class IssuedTokens:
    """`expires_in`: seconds until the access token expires."""

    access_token: str
    refresh_token: str
    expires_in: int


def start_session(*, user: User, caller: Caller, device_name: str = "") -> IssuedTokens:
    """Create a session with its first token pair for an authenticated user. Raises AccountChanged.

    If the user has more than MAX_SESSIONS_PER_USER sessions, the oldest ends.
    """
    now = timezone.now()
    with transaction.atomic():
        # Lock: code that ends all sessions of a user locks the user's row first, so no session starts meanwhile.
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
    name_user(user.pk, session.pk)
    return _tokens(session, user, generation=0, issued_at=now, now=now)


def refresh_session(*, refresh_token: str, caller: Caller) -> IssuedTokens:
    """The token pair that follows this token's pair, by compare-and-set.

    Raises RefreshInvalid. Reuse ends the session.
    """
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
    name_user(session.user_id, session.pk)
    now = timezone.now()
    mark_pair_used(session.pk, claims.generation)
    if claims.generation == session.generation:
        _rotate(session, claims, now)
    successor = TokenPair.objects.filter(session=session, generation=claims.generation + 1).first()
    if successor is None or not _may_be_returned_again(successor, now):
        if end_session(session_id=session.pk, user_id=session.user_id, reason="refresh_reused"):
            event = AuditEvent.Event.REFRESH_REUSED
            record_event(event, caller=caller, user_id=session.user_id, session=str(session.pk))
        raise RefreshInvalid
    return _tokens(session, session.user, generation=successor.generation, issued_at=successor.issued_at, now=now)


def mark_pair_used(session_id: UUID, generation: int) -> None:
    """Record the first use of a pair. Later calls change nothing."""
    TokenPair.objects.filter(session_id=session_id, generation=generation, first_used_at=None).update(
        first_used_at=timezone.now()
    )
    Session.objects.filter(pk=session_id, used_generation__lt=generation).update(used_generation=generation)


def end_session(*, session_id: UUID, user_id: int, reason: str) -> bool:
    """End a user's session with all its tokens, immediately and in every process.

    Returns False if the session was over, or belongs to another user.
    """
    ended = _end(Session.objects.live().filter(pk=session_id, user_id=user_id), reason)
    announce_end(user_subject(user_id))
    return bool(ended)


def end_all_sessions(*, user_id: int, reason: str, but: UUID | None = None) -> int:
    """End all sessions of a user except `but`. Returns the number of sessions that ended."""
    sessions = Session.objects.live().filter(user_id=user_id)
    if but is not None:
        sessions = sessions.exclude(pk=but)
    ended = _end(sessions, reason)
    announce_end(user_subject(user_id))
    return ended


def end_sessions_of_all_users(*, reason: str) -> int:
    """End all sessions of all users. Returns the number of sessions that ended."""
    ended = _end(Session.objects.live(), reason)
    announce_end(EVERYBODY)
    return ended


def _end(sessions: SessionQuerySet, reason: str) -> int:
    return sessions.update(ended_at=timezone.now(), end_reason=reason)


def end_surplus(*, user_id: int, caller: Caller) -> None:
    """End the oldest sessions of a user beyond MAX_SESSIONS_PER_USER."""
    live = Session.objects.live().filter(user_id=user_id).order_by("-created_at", "-pk")
    for session_id in live.values_list("pk", flat=True)[settings.MAX_SESSIONS_PER_USER :]:
        if end_session(session_id=session_id, user_id=user_id, reason="too_many_sessions"):
            event = AuditEvent.Event.SESSION_ENDED
            record_event(event, caller=caller, user_id=user_id, session=str(session_id), reason="too_many_sessions")


def end_admin_sessions(*, user_id: int, reason: str) -> int:
    """End a user's admin sessions. Returns the number of sessions that ended."""
    ended = _end(Session.objects.live().filter(user_id=user_id, kind=Session.Kind.ADMIN), reason)
    announce_end(user_subject(user_id))
    return ended


def _rotate(session: Session, claims: Claims, now: datetime) -> None:
    """Make the next pair unless another request has just made it. Both requests then answer with the same pair."""
    with transaction.atomic():
        current = Session.objects.live().filter(pk=session.pk, generation=claims.generation)
        if current.update(
            generation=claims.generation + 1, last_used_at=now, expires_at=now + settings.REFRESH_TOKEN_LIFETIME
        ):
            TokenPair.objects.create(session=session, generation=claims.generation + 1, issued_at=now)
    # Pairs past their grace period can only be reused by a thief. A refresh without a row counts as reuse too, so
    # deleting the rows is safe and limits the rows per session.
    TokenPair.objects.filter(
        session=session, generation__lt=claims.generation, first_used_at__lt=now - GRACE_AFTER_FIRST_USE
    ).delete()


def _may_be_returned_again(pair: TokenPair, now: datetime) -> bool:
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
