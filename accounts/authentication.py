"""Bearer access tokens for REST framework: one indexed lookup a request, so an ended session ends at once."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import Session, User
from accounts.sessions import mark_pair_used
from accounts.tokens import Claims, TokenExpired, TokenInvalid, read_token
from edgechat.errors import NotAuthenticated
from edgechat.request_state import state_of

LAST_USED_PRECISION = timedelta(minutes=1)


class AccessTokenAuthentication(BaseAuthentication):
    """Sets `request.user` and `request.auth` (the Session); no header is an anonymous request."""

    def authenticate(self, request: Request) -> tuple[User, Session] | None:
        header = request._request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, token = header.partition(" ")
        if not header:
            return None
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAuthenticated
        try:
            claims = read_token(token.strip(), "access")
        except TokenExpired:
            raise NotAuthenticated("The access token has expired", code="token_expired") from None
        except TokenInvalid:
            raise NotAuthenticated("The access token is not valid") from None
        session = live_session(claims)
        state_of(request._request).authenticated_user_id = session.user_id
        return session.user, session

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def live_session(claims: Claims) -> Session:
    """The token's session with its user; NotAuthenticated if it was ended or the user is no longer active."""
    session = Session.objects.select_related("user").filter(pk=claims.session_id, user_id=claims.user_id).first()
    if session is None or session.ended_at is not None or not session.user.is_active:
        raise NotAuthenticated("The session has ended", code="token_revoked")
    if claims.generation > session.used_generation:
        mark_pair_used(session.pk, claims.generation)
    now = timezone.now()
    if now - session.last_used_at > LAST_USED_PRECISION:
        Session.objects.filter(pk=session.pk).update(last_used_at=now)
    return session
