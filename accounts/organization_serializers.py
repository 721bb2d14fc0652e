"""Input and output of the organization calls."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import Membership
from accounts.permissions import Access, Role
from accounts.serializers import NewEmailField


class OrganizationInput(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=255)


class MemberInput(serializers.Serializer[Any]):
    email = NewEmailField()
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER)


class RoleInput(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)


class OrganizationOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    role = serializers.ChoiceField(
        choices=Role.choices, allow_null=True, help_text="The caller's; null for a superuser who is not in it."
    )
    created_at = serializers.DateTimeField()


class OrganizationsOutput(serializers.Serializer[Any]):
    organizations = OrganizationOutput(many=True)


class MemberOutput(serializers.Serializer[Any]):
    user_id = serializers.IntegerField(allow_null=True, help_text="Null while only invited.")
    email = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    status = serializers.ChoiceField(choices=["active", "invited"])
    invitation_id = serializers.CharField(allow_null=True, help_text="Null for who is active.")


class MembersOutput(serializers.Serializer[Any]):
    members = MemberOutput(many=True)


class InvitingOrganizationOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()


class InvitationOutput(serializers.Serializer[Any]):
    id = serializers.CharField()
    organization = InvitingOrganizationOutput()
    role = serializers.ChoiceField(choices=Role.choices, help_text="What whoever accepts will be.")
    created_at = serializers.DateTimeField()


class InvitationsOutput(serializers.Serializer[Any]):
    invitations = InvitationOutput(many=True)


def organization_body(access: Access) -> dict[str, Any]:
    """The body that describes an organization."""
    organization = access.organization
    return {
        "id": organization.pk,
        "name": organization.name,
        "role": access.role,
        "created_at": organization.created_at,
    }


def member_body(member: Membership) -> dict[str, Any]:
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


def invitation_body(invitation: Membership) -> dict[str, Any]:
    """An invitation as those see it who are invited."""
    return {
        "id": str(invitation.pk),
        "organization": {"id": invitation.organization.pk, "name": invitation.organization.name},
        "role": invitation.role,
        "created_at": invitation.created_at,
    }
