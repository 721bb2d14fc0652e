"""Where a user is logged in, and logging out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.logout import end_own_session, list_sessions, log_out, log_out_everywhere
from accounts.models import Session
from accounts.requests import AuthenticatedRequest
from edgechat.client_address import caller_of

LOGGED_OUT = {"message": "Successfully logged out"}
LOGGED_OUT_EXAMPLE = OpenApiExample("Logged out", value=LOGGED_OUT, response_only=True)


class LogoutOutput(serializers.Serializer[Any]):
    message = serializers.CharField()


class LogoutAllOutput(LogoutOutput):
    sessions_ended = serializers.IntegerField()


class SessionOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    device_name = serializers.CharField(allow_null=True, help_text="As the login named it.")
    user_agent = serializers.CharField(allow_null=True)
    ip = serializers.IPAddressField(allow_null=True, help_text="Where the login came from.")
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(help_text="To the minute.")
    current = serializers.BooleanField(help_text="Whether it is the session of this call.")


class SessionsOutput(serializers.Serializer[Any]):
    sessions = SessionOutput(many=True)


def session_body(session: Session, *, current: Session) -> dict[str, Any]:
    return {
        "id": session.pk,
        "device_name": session.device_name or None,
        "user_agent": session.user_agent or None,
        "ip": session.ip,
        "created_at": session.created_at,
        "last_used_at": session.last_used_at,
        "current": session.pk == current.pk,
    }


class SessionsView(APIView):
    @extend_schema(
        operation_id="session_list",
        tags=["accounts"],
        responses=SessionsOutput,
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
    def get(self, request: AuthenticatedRequest) -> Response:
        """The user's live sessions, the latest used first; 1000 of them at most."""
        sessions = list_sessions(user_id=request.user.pk)
        return Response({"sessions": [session_body(session, current=request.auth) for session in sessions]})


class SessionView(APIView):
    @extend_schema(
        operation_id="session_end",
        tags=["accounts"],
        parameters=[OpenApiParameter("session_id", location="path")],
        responses={204: None},
    )
    def delete(self, request: AuthenticatedRequest, session_id: str) -> Response:
        """End one of the user's sessions, with all its tokens and at once. It may be the one of this call."""
        end_own_session(user_id=request.user.pk, session_id=session_id, caller=caller_of(request._request))
        return Response(status=204)


class LogoutView(APIView):
    @extend_schema(
        operation_id="logout", tags=["accounts"], request=None, responses=LogoutOutput, examples=[LOGGED_OUT_EXAMPLE]
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """End the session of this call, with all its tokens and at once."""
        log_out(user_id=request.user.pk, session_id=request.auth.pk, caller=caller_of(request._request))
        return Response(LOGGED_OUT)


class LogoutAllView(APIView):
    @extend_schema(
        operation_id="logout_all",
        tags=["accounts"],
        request=None,
        responses=LogoutAllOutput,
        examples=[OpenApiExample("Logged out", value={**LOGGED_OUT, "sessions_ended": 3}, response_only=True)],
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        """End all of the user's sessions, the one of this call too."""
        ended = log_out_everywhere(user_id=request.user.pk, caller=caller_of(request._request))
        return Response({**LOGGED_OUT, "sessions_ended": ended})
