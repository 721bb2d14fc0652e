"""Admin sessions: ordinary sessions that expire after 12 hours. A password check is valid for 15 minutes.

Django's own session only links the browser's cookie to the row. Each request to the admin looks up the row.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib.auth import get_user, user_logged_in, user_logged_out
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from accounts.audit import record_event
from accounts.authentication import note_use
from accounts.login.logout import log_out
from accounts.login.sessions import AccountChanged, end_session, end_surplus
from accounts.models import AuditEvent, Session, User
from accounts.services import REAUTHENTICATION_WINDOW, check_own_password
from edgechat.http.client_address import Caller, caller_of
from edgechat.http.request_body import body_of
from edgechat.http.request_state import name_user

LIFETIME = timedelta(hours=12)
DEVICE_NAME = "Admin site"

_KEY = "session"  # the id of the Session row, in Django's session


class PasswordNeeded(Exception):
    """The last password check is too old for this request. The site asks for the password (accounts.staff.site)."""


class AdminAuthenticationMiddleware(AuthenticationMiddleware):
    """Sets `request.user` of the admin: a staff user with a live admin session, else an anonymous user."""

    def process_request(self, request: HttpRequest) -> None:
        _look_up(request)
        if body := body_of(request):
            body.when_late(partial(_look_up, request))


def session_of(request: HttpRequest) -> Session | None:
    """The session of a request to the admin, or None without a login."""
    if not request.user.is_authenticated:
        return None
    session: Session | None = getattr(request, "staff_session", None)
    return session


def password_is_recent(request: HttpRequest) -> bool:
    session = session_of(request)
    if session is None:
        return False
    return timezone.now() - (session.reauthenticated_at or session.created_at) <= REAUTHENTICATION_WINDOW


def require_recent_password(request: HttpRequest) -> None:
    """Call this before a deletion, an export or a read of users' content. Raises PasswordNeeded."""
    if not password_is_recent(request):
        raise PasswordNeeded


def reauthenticate(request: HttpRequest, password: str) -> None:
    """Check the password for another 15 minutes. Failures count like failed logins.

    Raises InvalidCredentials and LoginLocked.
    """
    session = session_of(request)
    if session is None:
        raise AccountChanged
    caller, user = caller_of(request), session.user
    check_own_password(user=user, session=session, password=password, caller=caller, by="reauthentication")
    with transaction.atomic():
        session.reauthenticated_at = timezone.now()
        session.save(update_fields=["reauthenticated_at"])
        event = AuditEvent.Event.REAUTHENTICATED
        record_event(event, caller=caller, user_id=user.pk, actor_id=user.pk, session=str(session.pk))


def _look_up(request: HttpRequest) -> None:
    request.user = SimpleLazyObject(lambda: _staff_of(request))  # type: ignore[assignment]


def _staff_of(request: HttpRequest) -> User | AnonymousUser:
    user = get_user(request)
    if not isinstance(user, User):
        return AnonymousUser()
    sessions = Session.objects.live().filter(kind=Session.Kind.ADMIN, created_at__gt=timezone.now() - LIFETIME)
    key = request.session.get(_KEY)
    session = sessions.filter(pk=key, user=user).first() if key is not None else None
    if session is not None and not user.is_staff:
        # Permanently: the cookie must not become valid again if the user gets the rights back.
        end_session(session_id=session.pk, user_id=user.pk, reason="role_changed")
        session = None
    if session is None:
        request.session.flush()
        return AnonymousUser()
    note_use(session)
    session.user = user
    request.staff_session = session  # type: ignore[attr-defined]
    name_user(user.pk, session.pk)
    return user


@receiver(user_logged_in)
def _begin(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    caller = caller_of(request) if hasattr(request, "edgechat") else Caller("", "", "")
    earlier, now = request.session.get(_KEY), timezone.now()
    if earlier is not None:
        end_session(session_id=earlier, user_id=user.pk, reason="logged_in_again")
    with transaction.atomic():
        # Lock: code that ends all sessions of a user locks the user's row first, so no session starts meanwhile.
        holder = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True, is_staff=True).first()
        if holder is None or holder.password != user.password:
            return  # the next request is anonymous
        session = Session.objects.create(
            user=user,
            kind=Session.Kind.ADMIN,
            device_name=DEVICE_NAME,
            user_agent=caller.user_agent,
            ip=caller.address or None,
            expires_at=now + LIFETIME,
        )
        end_surplus(user_id=user.pk, caller=caller)
    request.session[_KEY] = str(session.pk)
    request.staff_session = session  # type: ignore[attr-defined]


@receiver(user_logged_out)
def _end(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    session: Session | None = getattr(request, "staff_session", None)
    if session is not None:
        log_out(user_id=session.user_id, session_id=session.pk, caller=caller_of(request))
