"""The API for users to read their usage."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.views import APIView

from accounts.requests import AuthenticatedRequest
from edgechat.errors import PermissionDenied
from edgechat.http.bodies import Answer
from edgechat.http.validation import integer_id, validated_query
from edgechat.openapi.schema import raises
from usage.ledger.queries import quota_body
from usage.reports.queries import daily_usage, organization_usage, user_usage
from usage.serializers import DailyUsageOutput, DaysQuery, OrganizationUsageOutput, UserUsageOutput

_TOKENS = {"input": 90210, "output": 31337, "total": 121547, "last_24h": 1200, "last_7d": 20400}
_NO_TOKENS = dict.fromkeys(_TOKENS, 0)
_QUOTA = {"limit": 200000, "used": 121547, "remaining": 78453, "resets_at": "2026-02-01T00:00:00Z"}
_REQUESTS = {"total_requests": 4711, "requests_last_24h": 31, "requests_last_7d": 270}
_DAYS = [
    {"date": "2026-01-14", "requests": 0, "input": 0, "output": 0, "total": 0},
    {"date": "2026-01-15", "requests": 31, "input": 900, "output": 300, "total": 1200},
]
_MEMBERS: list[dict[str, Any]] = [
    {"user_id": 7, "email": "ann@example.com", "tokens": _TOKENS},
    {"user_id": 8, "email": "ben@example.com", "tokens": _NO_TOKENS},
]


class UsageMeView(APIView):
    @extend_schema(
        operation_id="usage_me",
        tags=["usage"],
        examples=[
            OpenApiExample("Usage", value={**_REQUESTS, "tokens": _TOKENS, "quota": _QUOTA}, response_only=True),
            OpenApiExample(
                "Without a budget",
                value={
                    **_REQUESTS,
                    "tokens": _TOKENS,
                    "quota": {"limit": None, "used": 121547, "remaining": None, "resets_at": None},
                },
                response_only=True,
            ),
        ],
    )
    def get(self, request: AuthenticatedRequest) -> Answer[UserUsageOutput]:
        """The user's requests and tokens. Each request counts as soon as it is answered."""
        body: UserUsageOutput = {**user_usage(request.user.pk), "quota": quota_body(request.user)}
        return Answer(body)


class UsageDailyView(APIView):
    @extend_schema(
        operation_id="usage_daily",
        tags=["usage"],
        parameters=[DaysQuery],
        examples=[OpenApiExample("Two days", value={"days": _DAYS}, response_only=True)],
    )
    def get(self, request: AuthenticatedRequest) -> Answer[DailyUsageOutput]:
        """The user's usage on each of the last days (UTC), the oldest first, including days without usage."""
        days = daily_usage(request.user.pk, **validated_query(DaysQuery, request))
        return Answer(DailyUsageOutput(days=days))


class OrganizationUsageView(APIView):
    @extend_schema(
        operation_id="usage_organization",
        tags=["usage"],
        parameters=[OpenApiParameter("organization_id", type=int, location="path")],
        examples=[
            OpenApiExample("Usage", value={"tokens": _TOKENS, "quota": _QUOTA, "members": _MEMBERS}, response_only=True)
        ],
    )
    @raises(PermissionDenied)
    def get(self, request: AuthenticatedRequest, organization_id: str) -> Answer[OrganizationUsageOutput]:
        """The usage of an organization and of its members, for its owners and admins.

        The members come first, in the order in which they were added. Former members who used the organization's
        tokens follow, the most first, without their e-mail. A last entry without id and e-mail sums up all deleted
        accounts. At most 1000 people are listed; the others are counted with the deleted accounts. The tokens of all
        entries add up to the organization's tokens.
        """
        organization, tokens, members = organization_usage(
            user=request.user, organization_id=integer_id(organization_id)
        )
        return Answer(OrganizationUsageOutput(tokens=tokens, quota=quota_body(organization), members=members))
