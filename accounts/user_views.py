"""Other users' accounts, for staff."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

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
    limit = serializers.IntegerField(
        min_value=1, max_value=100, default=20, help_text="The maximum number of users on the page."
    )
    skip = serializers.IntegerField(
        min_value=0, max_value=1_000_000, default=0, help_text="The number of users to leave out at the start."
    )


class UserChange(serializers.Serializer[Any]):
    is_active = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="False deactivates the user and ends all sessions. Null or absent: no change.",
    )
    role = serializers.ChoiceField(
        choices=["user", "admin"],
        required=False,
        allow_null=True,
        default=None,
        help_text="The new role. Null or absent: no change.",
    )


class UsersOutput(TypedDict):
    users: Annotated[list[UserOutput], "The users of the page, ordered by id."]
    has_more: Annotated[bool, "Whether there are users after this page."]


class UsersView(APIView):
    @extend_schema(operation_id="user_list", tags=["accounts"], parameters=[UsersQuery])
    @raises(PermissionDenied)
    def get(self, request: AuthenticatedRequest) -> Answer[UsersOutput]:
        """List all users, as staff.

        The users are ordered by id. Others than staff get 403.
        """
        require_staff(request.user)
        query = validated_query(UsersQuery, request)
        found = list_users(limit=query["limit"] + 1, skip=query["skip"])
        users = found[: query["limit"]]
        return Answer(UsersOutput(users=[user_body(user) for user in users], has_more=len(found) > len(users)))


class UserView(APIView):
    @extend_schema(operation_id="user_get", tags=["accounts"], parameters=[USER_ID])
    def get(self, request: AuthenticatedRequest, user_id: str) -> Answer[UserOutput]:
        """Get an account by its id.

        Users can read their own account, staff any account. Another one is 404, as an absent one.
        """
        return Answer(user_body(visible_user(viewer=request.user, user_id=integer_id(user_id))))

    @extend_schema(operation_id="user_update", tags=["accounts"], parameters=[USER_ID], request=UserChange)
    @raises(PermissionDenied)
    def patch(self, request: AuthenticatedRequest, user_id: str) -> Answer[UserOutput]:
        """Change a user, as staff.

        Staff deactivate and activate users, superusers also change roles. Deactivation ends all sessions immediately.
        Staff who are not superusers cannot change other staff, and users cannot change themselves.
        """
        number = integer_id(user_id)
        visible_user(viewer=request.user, user_id=number)
        require_staff(request.user)
        data = validated_body(UserChange, request)
        user = change_user(actor=request.user, user_id=number, **data, caller=caller_of(request._request))
        return Answer(user_body(user))
