"""Bearer access tokens and API keys for REST framework.

Each request makes one indexed lookup, so an ended session or key is rejected immediately.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.api_keys.secrets import START, digest_of
from accounts.login.sessions import SessionEnded, mark_pair_used
from accounts.login.tokens import Claims, TokenExpired, TokenInvalid, read_token
from accounts.models import ApiKey, Session, User
from edgechat.errors import NotAuthenticated, PermissionDenied
from edgechat.http.request_body import body_of
from edgechat.http.request_state import name_user, state_of
from edgechat.stores.postgresql.prepared import fetch_row

LAST_USED_PRECISION = timedelta(minutes=1)
# The calls that accept API keys, and the scope that each needs. All other calls refuse them.
SCOPES = (("/api/v1/ai/", "ai"), ("/api/v1/openai/", "ai"), ("/api/v1/chat/", "chat"))

Credential = Session | ApiKey
C = TypeVar("C", Session, ApiKey)


class AccessTokenExpired(NotAuthenticated):
    code, detail = "token_expired", "The access token has expired"


class ApiKeyExpired(NotAuthenticated):
    code, detail = "token_expired", "The API key has expired"


class ApiKeyEnded(NotAuthenticated):
    code, detail = "token_revoked", "The API key has ended"


class AccessTokenAuthentication(BaseAuthentication):
    """Sets `request.user` and `request.auth` (the Session or ApiKey). A request without the header is anonymous.

    Raises NotAuthenticated, and PermissionDenied for a call that is outside the scopes of its API key.
    """

    def authenticate(self, request: Request) -> tuple[User, Credential] | None:
        credential = authenticate_request(request._request)
        if credential is None:
            return None
        if isinstance(credential, ApiKey):
            path = request._request.path_info
            require_scope(credential, next((scope for start, scope in SCOPES if path.startswith(start)), None))
        return credential.user, credential

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def require_scope(credential: Credential, scope: str | None) -> None:
    """Raises PermissionDenied for an API key without this scope; None is the scope of calls that refuse API keys."""
    if isinstance(credential, ApiKey) and scope not in credential.scopes:
        detail = "This call refuses API keys" if scope is None else f"This needs an API key with the scope {scope}"
        raise PermissionDenied(detail)


def authenticate_request(request: HttpRequest) -> Credential | None:
    """The session of a request's access token or its API key, or None without a token.

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
    find: Callable[[], Credential]
    if token.strip().startswith(START):
        find = functools.partial(live_key, token.strip())
    else:
        try:
            find = functools.partial(live_session, read_token(token.strip(), "access"))
        except TokenExpired:
            raise AccessTokenExpired from None
        except TokenInvalid:
            raise NotAuthenticated("The access token is not valid") from None
    state.authenticated_at = time.monotonic()
    credential = find()
    state.authenticated_user_id = credential.user_id
    name_user(credential.user_id, credential.pk if isinstance(credential, Session) else None)
    if body := body_of(request):
        body.when_late(functools.partial(_look_again, credential, find))
    return credential


@functools.cache
def _query(model: type[Credential], condition: str) -> tuple[str, list[str], list[str]]:
    """The query for a row of the model, and the attributes of it and of its user in the order of the columns."""
    # Django reads a field that is missing here when it is asked for. `ip` has another type in PostgreSQL's binary form.
    fields = [field for field in model._meta.concrete_fields if field.attname != "ip"]
    user_fields = User._meta.concrete_fields
    columns = [f'c."{field.column}"' for field in fields] + [f'u."{field.column}"' for field in user_fields]
    sql = f"""
        SELECT {", ".join(columns)}
          FROM "{model._meta.db_table}" c JOIN "{User._meta.db_table}" u ON u.id = c.user_id
         WHERE {condition}
    """  # noqa: S608  (names of our own tables)
    return sql, [field.attname for field in fields], [field.attname for field in user_fields]


def _find(model: type[C], condition: str, values: list[Any]) -> C | None:
    """The session or key that fulfils the condition, with its user, or None.

    The SQL is built and prepared once: every request runs it, and the ORM would take a third of the time of a small
    request to build it.
    """
    sql, names, user_names = _query(model, condition)
    row = fetch_row(sql, values)
    if row is None:
        return None
    found = model.from_db(DEFAULT_DB_ALIAS, names, row[: len(names)])
    found.user = User.from_db(DEFAULT_DB_ALIAS, user_names, row[len(names) :])
    return found


def live_session(claims: Claims) -> Session:
    """The token's session with its user. Raises NotAuthenticated if it has ended or the user is inactive."""
    session = _find(Session, "c.id = %s AND c.user_id = %s", [claims.session_id, claims.user_id])
    ended = session is None or session.ended_at is not None or session.kind != Session.Kind.API
    if session is None or ended or not session.user.is_active:
        raise SessionEnded
    if claims.generation > session.used_generation:
        mark_pair_used(session.pk, claims.generation)
    note_use(session)
    return session


def live_key(text: str) -> ApiKey:
    """The API key with its user. Raises NotAuthenticated if it is unknown, was ended or has expired."""
    key = _find(ApiKey, "c.digest = %s", [digest_of(text)])
    if key is None:
        raise NotAuthenticated("The API key is not valid")
    if key.ended_at is not None or not key.user.is_active:
        raise ApiKeyEnded
    if key.expires_at is not None and key.expires_at <= timezone.now():
        raise ApiKeyExpired
    note_use(key)
    return key


def _look_again(credential: Credential, find: Callable[[], Credential]) -> None:
    """Check again after a slow body: the session or key may have ended, or the user's rights may have changed."""
    credential.user.__dict__.update(find().user.__dict__)


def note_use(credential: Credential) -> None:
    now = timezone.now()
    if credential.last_used_at is None or now - credential.last_used_at > LAST_USED_PRECISION:
        type(credential)._default_manager.filter(pk=credential.pk).update(last_used_at=now)
