"""The user's sessions, and logging out."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from accounts.examples import LOGGED_OUT_EXAMPLE
from accounts.login.logout import end_own_session, list_sessions, log_out, log_out_everywhere
from accounts.requests import AuthenticatedRequest
from accounts.serializers import LOGGED_OUT, LogoutAllOutput, LogoutOutput, SessionsOutput, session_body
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, NoContent
from edgechat.http.client_address import caller_of


class SessionsView(APIView):
    @extend_schema(
        operation_id="session_list",
        tags=["accounts"],
        examples=[
            OpenApiExample(
                "Sessions",
                value={
                    "sessions": [
                        {
                            "id": "7d0ed2fb-3f7e-4f0c-8a0b-6a4de1a3f0d2",
                            "device_name": "Ann's phone",
                            "user_agent": "EdgeChat/2.1 (Android 16)",
                            "ip": "203.0.113.7",
                            "created_at": "2026-01-01T12:00:00.123456Z",
                            "last_used_at": "2026-01-02T08:30:00.123456Z",
                            "current": True,
                        }
                    ]
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: AuthenticatedRequest) -> Answer[SessionsOutput]:
        """The user's live sessions, latest use first, at most 1000."""
        sessions = list_sessions(user_id=request.user.pk)
        bodies = [session_body(session, current=request.auth) for session in sessions]
        return Answer(SessionsOutput(sessions=bodies))


class SessionView(APIView):
    @extend_schema(
        operation_id="session_end",
        tags=["accounts"],
        parameters=[OpenApiParameter("session_id", location="path")],
    )
    def delete(self, request: AuthenticatedRequest, session_id: str) -> NoContent:
        """End one of the user's sessions immediately, with all its tokens. It may be the session of this call."""
        end_own_session(user_id=request.user.pk, session_id=session_id, caller=caller_of(request._request))
        return NoContent()


class LogoutView(APIView):
    @extend_schema(
        operation_id="logout",
        tags=["accounts"],
        request=None,
        examples=[LOGGED_OUT_EXAMPLE],
    )
    def post(self, request: AuthenticatedRequest) -> Answer[LogoutOutput]:
        """End the session of this call immediately, with all its tokens."""
        log_out(user_id=request.user.pk, session_id=request.auth.pk, caller=caller_of(request._request))
        return Answer(LOGGED_OUT)


class LogoutAllView(APIView):
    @extend_schema(
        operation_id="logout_all",
        tags=["accounts"],
        request=None,
        examples=[OpenApiExample("Logged out", value={**LOGGED_OUT, "sessions_ended": 3}, response_only=True)],
    )
    def post(self, request: AuthenticatedRequest) -> Answer[LogoutAllOutput]:
        """End all of the user's sessions, including the session of this call."""
        ended = log_out_everywhere(user_id=request.user.pk, caller=caller_of(request._request))
        return Answer(LogoutAllOutput(message=LOGGED_OUT["message"], sessions_ended=ended))
