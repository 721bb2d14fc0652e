"""The usage calls of CONTRACT section 5."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.requests import AuthenticatedRequest
from usage.budgets import quota_body
from usage.reports import user_usage
from usage.serializers import UserUsageOutput


class UsageMeView(APIView):
    @extend_schema(operation_id="usage_me", tags=["usage"], responses=UserUsageOutput)
    def get(self, request: AuthenticatedRequest) -> Response:
        """The user's requests and tokens. Each request counts as soon as it was answered."""
        return Response({**user_usage(request.user.pk).as_body(), "quota": quota_body(request.user)})
