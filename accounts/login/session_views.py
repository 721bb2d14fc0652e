"""The user's sessions, and logging out."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

from accounts.login.logout import end_own_session, log_out, log_out_everywhere
from accounts.login.queries import list_sessions
from accounts.requests import AuthenticatedRequest, session_of
from accounts.serializers import LOGGED_OUT, LogoutAllOutput, LogoutOutput, SessionsOutput, session_body
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, NoContent
from edgechat.http.client_address import caller_of
from edgechat.openapi.notes import extend_schema

SESSION_ID = OpenApiParameter("session_id", location="path")


class SessionsView(APIView):
    @extend_schema(operation_id="session_list", tags=["accounts"])
    def get(self, request: AuthenticatedRequest) -> Answer[SessionsOutput]:
        """List the user's sessions.

        These are the live sessions, the latest used first, at most 1000. The session of this call is marked `current`.
        """
        sessions = list_sessions(user_id=request.user.pk)
        bodies = [session_body(session, current=session_of(request)) for session in sessions]
        return Answer(SessionsOutput(sessions=bodies))


class SessionView(APIView):
    @extend_schema(operation_id="session_end", tags=["accounts"], parameters=[SESSION_ID])
    def delete(self, request: AuthenticatedRequest, session_id: str) -> NoContent:
        """End one of the user's sessions.

        It ends immediately, with all its tokens. It may be the session of this call.
        """
        end_own_session(user_id=request.user.pk, session_id=session_id, caller=caller_of(request._request))
        return NoContent()


class LogoutView(APIView):
    @extend_schema(operation_id="logout", tags=["accounts"], request=None)
    def post(self, request: AuthenticatedRequest) -> Answer[LogoutOutput]:
        """Log out on this device.

        The session of this call ends immediately, with all its tokens and its open streams.
        """
        log_out(user_id=request.user.pk, session_id=session_of(request).pk, caller=caller_of(request._request))
        return Answer(LOGGED_OUT)


class LogoutAllView(APIView):
    @extend_schema(operation_id="logout_all", tags=["accounts"], request=None)
    def post(self, request: AuthenticatedRequest) -> Answer[LogoutAllOutput]:
        """Log out on every device.

        All of the user's sessions end immediately with all their tokens, including the session of this call. API keys
        stay.
        """
        ended = log_out_everywhere(user_id=request.user.pk, caller=caller_of(request._request))
        return Answer(LogoutAllOutput(message=LOGGED_OUT["message"], sessions_ended=ended))
