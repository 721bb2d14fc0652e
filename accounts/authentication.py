"""Bearer access tokens for REST framework.

Each request makes one indexed lookup, so an ended session is rejected immediately.
"""

from __future__ import annotations

import functools
import time
from datetime import timedelta

from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.login.sessions import SessionEnded, mark_pair_used
from accounts.login.tokens import Claims, TokenExpired, TokenInvalid, read_token
from accounts.models import Session, User
from edgechat.errors import NotAuthenticated
from edgechat.http.request_body import body_of
from edgechat.http.request_state import state_of
from edgechat.stores.postgresql.prepared import fetch_row

LAST_USED_PRECISION = timedelta(minutes=1)


class AccessTokenExpired(NotAuthenticated):
    code, detail = "token_expired", "The access token has expired"


class AccessTokenAuthentication(BaseAuthentication):
    """Sets `request.user` and `request.auth` (the Session). A request without the header is anonymous."""

    def authenticate(self, request: Request) -> tuple[User, Session] | None:
        session = authenticate_request(request._request)
        return None if session is None else (session.user, session)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def authenticate_request(request: HttpRequest) -> Session | None:
    """The session of a request's access token, or None without a token.

    Raises NotAuthenticated for an invalid token.
    """
    state = state_of(request)
    state.token_checked = True
    header = request.META.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = header.partition(" ")
    if not header:
        return None
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated
    try:
        claims = read_token(token.strip(), "access")
    except TokenExpired:
        raise AccessTokenExpired from None
    except TokenInvalid:
        raise NotAuthenticated("The access token is not valid") from None
    state.authenticated_at = time.monotonic()
    session = live_session(claims)
    state.authenticated_user_id = session.user_id
    if body := body_of(request):
        body.when_late(functools.partial(_look_again, session, claims))
    return session


@functools.cache
def _session_query() -> tuple[str, list[str], list[str]]:
    """The query, and the attributes of Session and of User in the order of its columns."""
    # Django reads a field that is missing here when it is asked for. `ip` has another type in PostgreSQL's binary form.
    session_fields = [field for field in Session._meta.concrete_fields if field.attname != "ip"]
    user_fields = User._meta.concrete_fields
    columns = [f's."{field.column}"' for field in session_fields] + [f'u."{field.column}"' for field in user_fields]
    sql = f"""
        SELECT {", ".join(columns)}
          FROM "{Session._meta.db_table}" s JOIN "{User._meta.db_table}" u ON u.id = s.user_id
         WHERE s.id = %s AND s.user_id = %s
    """  # noqa: S608  (names of our own tables)
    return sql, [field.attname for field in session_fields], [field.attname for field in user_fields]


def _find_session(claims: Claims) -> Session | None:
    """The token's session with its user, or None.

    The SQL is built and prepared once: every request runs it, and the ORM would take a third of the time of a small
    request to build it.
    """
    sql, session_names, user_names = _session_query()
    row = fetch_row(sql, [claims.session_id, claims.user_id])
    if row is None:
        return None
    session = Session.from_db(DEFAULT_DB_ALIAS, session_names, row[: len(session_names)])
    session.user = User.from_db(DEFAULT_DB_ALIAS, user_names, row[len(session_names) :])
    return session


def live_session(claims: Claims) -> Session:
    """The token's session with its user. Raises NotAuthenticated if it has ended or the user is inactive."""
    session = _find_session(claims)
    ended = session is None or session.ended_at is not None or session.kind != Session.Kind.API
    if session is None or ended or not session.user.is_active:
        raise SessionEnded
    if claims.generation > session.used_generation:
        mark_pair_used(session.pk, claims.generation)
    note_use(session)
    return session


def _look_again(session: Session, claims: Claims) -> None:
    """Check again after a slow body: the session may have ended, or the user's rights may have changed."""
    session.user.__dict__.update(live_session(claims).user.__dict__)


def note_use(session: Session) -> None:
    now = timezone.now()
    if now - session.last_used_at > LAST_USED_PRECISION:
        Session.objects.filter(pk=session.pk).update(last_used_at=now)
