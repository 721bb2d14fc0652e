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
    name = serializers.CharField(max_length=255, help_text="The name of the organization.")


class MemberInput(serializers.Serializer[Any]):
    email = NewEmailField(help_text="The address to invite.")
    role = serializers.ChoiceField(
        choices=Role.values, default=Role.MEMBER, help_text="The role of a user who accepts the invitation."
    )


class RoleInput(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.values, help_text="The member's new role.")


class OrganizationOutput(TypedDict):
    id: Annotated[int, "The organization's id."]
    name: Annotated[str, "The organization's name."]
    role: Annotated[RoleName | None, "The user's role; null for a superuser who is not a member."]
    created_at: Annotated[datetime, "When it was created."]


class OrganizationsOutput(TypedDict):
    organizations: Annotated[list[OrganizationOutput], "The organizations of which the user is a member."]


class MemberOutput(TypedDict):
    user_id: Annotated[int | None, "Null for an invitation."]
    email: Annotated[str, "The address of the member, or the address that is invited."]
    role: Annotated[RoleName, "The member's role."]
    status: Annotated[Literal["active", "invited"], "Whether it is a member or an invitation."]
    invitation_id: Annotated[str | None, "Null for an active member."]


class MembersOutput(TypedDict):
    members: Annotated[list[MemberOutput], "Members and invitations, the oldest first."]


class InvitingOrganizationOutput(TypedDict):
    id: Annotated[int, "The organization's id."]
    name: Annotated[str, "The organization's name."]


class InvitationOutput(TypedDict):
    id: Annotated[str, "The invitation's id."]
    organization: Annotated[InvitingOrganizationOutput, "The organization that invites."]
    role: Annotated[RoleName, "The role of a user who accepts it."]
    created_at: Annotated[datetime, "When the user was invited."]


class InvitationsOutput(TypedDict):
    invitations: Annotated[list[InvitationOutput], "The open invitations, at most 500."]


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
