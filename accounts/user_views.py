"""Other users' accounts, for staff."""

from __future__ import annotations

from typing import Any, TypedDict

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from accounts.requests import AuthenticatedRequest
from accounts.serializers import UserOutput, user_body
from accounts.staff.queries import list_users, require_staff, visible_user
from accounts.staff.roles import change_user
from edgechat.errors import PermissionDenied
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer
from edgechat.http.client_address import caller_of
from edgechat.http.validation import integer_id, validated_body, validated_query
from edgechat.openapi.notes import extend_schema, raises

USER_ID = OpenApiParameter("user_id", type=int, location="path")


class UsersQuery(serializers.Serializer[Any]):
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20)
    skip = serializers.IntegerField(min_value=0, max_value=1_000_000, default=0)


class UserChange(serializers.Serializer[Any]):
    is_active = serializers.BooleanField(required=False, allow_null=True, default=None)
    role = serializers.ChoiceField(choices=["user", "admin"], required=False, allow_null=True, default=None)


class UsersOutput(TypedDict):
    users: list[UserOutput]
    has_more: bool


class UsersView(APIView):
    @extend_schema(operation_id="user_list", tags=["accounts"], parameters=[UsersQuery])
    @raises(PermissionDenied)
    def get(self, request: AuthenticatedRequest) -> Answer[UsersOutput]:
        """All users, ordered by id. For staff."""
        require_staff(request.user)
        query = validated_query(UsersQuery, request)
        found = list_users(limit=query["limit"] + 1, skip=query["skip"])
        users = found[: query["limit"]]
        return Answer(UsersOutput(users=[user_body(user) for user in users], has_more=len(found) > len(users)))


class UserView(APIView):
    @extend_schema(operation_id="user_get", tags=["accounts"], parameters=[USER_ID])
    def get(self, request: AuthenticatedRequest, user_id: str) -> Answer[UserOutput]:
        """The user's own account; staff can read any account."""
        return Answer(user_body(visible_user(viewer=request.user, user_id=integer_id(user_id))))

    @extend_schema(operation_id="user_update", tags=["accounts"], parameters=[USER_ID], request=UserChange)
    @raises(PermissionDenied)
    def patch(self, request: AuthenticatedRequest, user_id: str) -> Answer[UserOutput]:
        """Deactivate or activate a user (for staff), or change the role (for superusers).

        Deactivation ends all sessions immediately. Staff who are not superusers cannot change other staff, and users
        cannot change themselves.
        """
        number = integer_id(user_id)
        visible_user(viewer=request.user, user_id=number)
        require_staff(request.user)
        data = validated_body(UserChange, request)
        user = change_user(actor=request.user, user_id=number, **data, caller=caller_of(request._request))
        return Answer(user_body(user))
