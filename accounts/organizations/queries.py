"""Reads of organizations, their members and invitations."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.addresses import email_key
from accounts.models import Membership, Organization, User
from accounts.permissions import ALLOWED, Access, Action, Role
from edgechat.errors import NotFound

MAX_LISTED_INVITATIONS = 500


class OrganizationNotFound(NotFound):
    detail = "Organization not found"


def access_organization(*, user: User, organization_id: int, lock: bool = False) -> Access:
    """The access check for every organization.

    Raises OrganizationNotFound alike for a missing one and one without access.

    With `lock`, in a transaction, no other transaction changes the organization or its members.
    """
    organizations = Organization.objects.select_for_update(no_key=True) if lock else Organization.objects.all()
    organization = organizations.filter(pk=organization_id).first()
    role = Membership.objects.filter(organization_id=organization_id, user=user).values_list("role", flat=True).first()
    if organization is None or (role is None and not user.is_superuser):
        raise OrganizationNotFound
    return Access(organization, role, user.is_superuser)


def get_organization(*, user: User, organization_id: int) -> Access:
    """An organization that the user may read. Raises OrganizationNotFound."""
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ)
    return access


def list_organizations(*, user: User) -> list[Access]:
    """The user's organizations, oldest first. A superuser's list has no others; those are in the admin."""
    memberships = Membership.objects.filter(user=user).select_related("organization").order_by("organization_id")
    return [Access(each.organization, each.role, user.is_superuser) for each in memberships]


def list_members(*, user: User, organization_id: int) -> list[Membership]:
    """Members and invitations with their users, oldest first. Raises OrganizationNotFound."""
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ)
    return list(Membership.objects.filter(organization=access.organization).select_related("user"))


def list_invitations(*, user: User) -> list[Membership]:
    """The invitations that the user can accept, with their organizations, latest first, at most 500."""
    return list(invitations_of(user).select_related("organization").order_by("-pk")[:MAX_LISTED_INVITATIONS])


def invitations_of(user: User) -> QuerySet[Membership]:
    """The invitations that this user can accept.

    They are to the verified address, and from staff or from a member who may still invite with this role.
    """
    if not user.is_verified:
        return Membership.objects.none()
    inviter = Membership.objects.filter(organization=OuterRef("organization"), user=OuterRef("invited_by"))
    by_owner = Exists(inviter.filter(role__in=ALLOWED[Action.MANAGE_OWNERS]))
    by_manager = Exists(inviter.filter(role__in=ALLOWED[Action.MANAGE_MEMBERS]))
    by_staff = Q(invited_by__is_staff=True) | Q(invited_by__is_superuser=True)
    may_invite = by_staff | by_owner | (~Q(role=Role.OWNER) & by_manager)
    return (
        Membership.objects.filter(user=None, invited_email_key=email_key(user.email))
        .filter(Q(invited_by=None) | (Q(invited_by__is_active=True) & may_invite))
        .exclude(invited_by=user)
    )


def is_member(*, user_id: int, organization_id: int) -> bool:
    return Membership.objects.filter(user_id=user_id, organization_id=organization_id).exists()


def member_ids(*, organization_id: int) -> list[int]:
    """The ids of the current members."""
    users = Membership.objects.filter(organization_id=organization_id, user__isnull=False)
    return [user_id for user_id in users.values_list("user_id", flat=True) if user_id is not None]


def memberships_among(*, users: Collection[int], organizations: Collection[int]) -> set[tuple[int, int]]:
    """The current memberships among these users and organizations, as (user id, organization id)."""
    if not organizations:
        return set()
    found = Membership.objects.filter(user_id__in=users, organization_id__in=organizations)
    return {(user_id, each) for user_id, each in found.values_list("user_id", "organization_id") if user_id is not None}


def common_organizations(user_id: int, other_id: int) -> set[int]:
    """The ids of the organizations that both users are in."""
    own = Membership.objects.filter(user_id=user_id, organization__memberships__user_id=other_id)
    return set(own.values_list("organization_id", flat=True))
