"""The API for users to read their usage."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

from accounts.requests import AuthenticatedRequest
from edgechat.errors import PermissionDenied
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer
from edgechat.http.validation import integer_id, validated_query
from edgechat.openapi.notes import extend_schema, raises
from usage.ledger.queries import quota_body
from usage.reports.queries import daily_usage, organization_usage, user_usage
from usage.serializers import DailyUsageOutput, DaysQuery, OrganizationUsageOutput, UserUsageOutput


class UsageMeView(APIView):
    @extend_schema(operation_id="usage_me", tags=["usage"])
    def get(self, request: AuthenticatedRequest) -> Answer[UserUsageOutput]:
        """Get the user's usage and budget.

        The answer has the requests and tokens of the user. Each request counts as soon as it is answered.
        """
        body: UserUsageOutput = {**user_usage(request.user.pk), "quota": quota_body(request.user)}
        return Answer(body)


class UsageDailyView(APIView):
    @extend_schema(operation_id="usage_daily", tags=["usage"], parameters=[DaysQuery])
    def get(self, request: AuthenticatedRequest) -> Answer[DailyUsageOutput]:
        """Get the user's usage by day.

        These are the last days (UTC), the oldest first, including days without usage.
        """
        days = daily_usage(request.user.pk, **validated_query(DaysQuery, request))
        return Answer(DailyUsageOutput(days=days))


class OrganizationUsageView(APIView):
    @extend_schema(
        operation_id="usage_organization",
        tags=["usage"],
        parameters=[OpenApiParameter("organization_id", type=int, location="path")],
    )
    @raises(PermissionDenied)
    def get(self, request: AuthenticatedRequest, organization_id: str) -> Answer[OrganizationUsageOutput]:
        """Get the usage of an organization.

        Its owners and admins see the usage of the organization and of its members.

        The members come first, in the order in which they were added. Former members who used the organization's tokens
        follow, the most first, without their e-mail. A last entry without id and e-mail sums up all deleted accounts.
        At most 1000 people are listed; the others are counted with the deleted accounts. The tokens of all entries add
        up to the organization's tokens.
        """
        organization, tokens, members = organization_usage(
            user=request.user, organization_id=integer_id(organization_id)
        )
        return Answer(OrganizationUsageOutput(tokens=tokens, quota=quota_body(organization), members=members))
