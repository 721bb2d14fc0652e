"""Input and output of the organization calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

from rest_framework import serializers

from accounts.models import Membership
from accounts.permissions import Access, Role
from accounts.serializers import NewEmailField
from edgechat.http.bodies import Keywords

RoleName = Annotated[str, Keywords(enum=Role.values)]


class OrganizationInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=255)


class MemberInput(serializers.Serializer[Any]):
    email = NewEmailField()
    role = serializers.ChoiceField(choices=Role.values, default=Role.MEMBER)


class RoleInput(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.values)


class OrganizationOutput(TypedDict):
    id: int
    name: str
    role: Annotated[RoleName | None, "The user's role; null for a superuser who is not a member."]
    created_at: datetime


class OrganizationsOutput(TypedDict):
    organizations: list[OrganizationOutput]


class MemberOutput(TypedDict):
    user_id: Annotated[int | None, "Null for an invitation."]
    email: str
    role: RoleName
    status: Literal["active", "invited"]
    invitation_id: Annotated[str | None, "Null for an active member."]


class MembersOutput(TypedDict):
    members: list[MemberOutput]


class InvitingOrganizationOutput(TypedDict):
    id: int
    name: str


class InvitationOutput(TypedDict):
    id: str
    organization: InvitingOrganizationOutput
    role: Annotated[RoleName, "The role of a user who accepts it."]
    created_at: datetime


class InvitationsOutput(TypedDict):
    invitations: list[InvitationOutput]


def organization_body(access: Access) -> OrganizationOutput:
    organization = access.organization
    return {
        "id": organization.pk,
        "name": organization.name,
        "role": access.role,
        "created_at": organization.created_at,
    }


def member_body(member: Membership) -> MemberOutput:
    if member.user is None:
        return {
            "user_id": None,
            "email": member.invited_email,
            "role": member.role,
            "status": "invited",
            "invitation_id": str(member.pk),
        }
    return {
        "user_id": member.user.pk,
        "email": member.user.email,
        "role": member.role,
        "status": "active",
        "invitation_id": None,
    }


def invitation_body(invitation: Membership) -> InvitationOutput:
    """An invitation as the invited user sees it."""
    return {
        "id": str(invitation.pk),
        "organization": {"id": invitation.organization.pk, "name": invitation.organization.name},
        "role": invitation.role,
        "created_at": invitation.created_at,
    }
