"""Who is in an organization: members, and invitations of e-mail addresses, which `invitations` takes up."""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import QuerySet

from accounts.audit import forget_changes, record_membership
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.organizations.services import access_organization
from accounts.permissions import Action, Role, is_allowed, managing
from edgechat.errors import ApiError, LimitContext, NotFound
from edgechat.http.client_address import Caller

# Invitations count as members, for that is what they become.
MAX_MEMBERS = 500


class MemberNotFound(NotFound):
    detail = "Member not found"


class LastOwner(ApiError):
    status, code = 409, "last_owner"
    detail = "The last owner of an organization can neither leave nor get another role"


class TooManyMembers(ApiError):
    status, code, detail = 409, "too_many_members", f"An organization can have {MAX_MEMBERS} members and invitations"
    context_body = LimitContext

    def __init__(self) -> None:
        super().__init__(context=LimitContext(limit=MAX_MEMBERS))


def list_members(*, user: User, organization_id: int) -> list[Membership]:
    """Members and invitations in the order in which they were added, with their users. Raises OrganizationNotFound."""
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ)
    return list(Membership.objects.filter(organization=access.organization).select_related("user"))


def change_role(*, user: User, organization_id: int, member_id: int, role: str, caller: Caller) -> Membership:
    """Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner."""
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.MANAGE_MEMBERS)
        member = _find_member(access.organization, member_id)
        access.require(managing(member.role, role))
        if role != Role.OWNER:
            _refuse_last_owner(member)
        if member.role != role:
            record_membership(member, caller=caller, actor_id=user.pk, before=member.role, after=role)
            member.role = role
            member.save(update_fields=["role"])
            _withdraw_invitations(member, role)
    return member


def remove_member(*, user: User, organization_id: int, member_id: int, caller: Caller) -> None:
    """Remove a member, or leave. Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner."""
    leaving = member_id == user.pk
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.LEAVE if leaving else Action.MANAGE_MEMBERS)
        member = _find_member(access.organization, member_id)
        if not leaving:
            access.require(managing(member.role))
        _refuse_last_owner(member)
        record_membership(member, caller=caller, actor_id=user.pk, before=member.role, after=None)
        member.delete()
        _withdraw_invitations(member, None)


def leave_all_organizations(user_id: int) -> None:
    """End all memberships of an account that is being deleted; to be called in a transaction.

    An organization whose last owner this is gets another one: of its admins, or else of its members, who has been in
    it the longest. One that nobody is left in, not even a deactivated account, is deleted.
    """
    organizations = Organization.objects.select_for_update(no_key=True, of=("self",)).order_by("pk")
    for organization in organizations.filter(memberships__user_id=user_id):
        organization.memberships.filter(user_id=user_id).delete()
        if _owners(organization).exists():
            continue
        # By name, an admin comes before a member.
        left = organization.memberships.filter(user__isnull=False).order_by("role", "pk")
        # The deactivated may come back: one of them inherits rather than nobody, an owner before all.
        heir = left.filter(user__is_active=True).first() or left.filter(role=Role.OWNER).first() or left.first()
        if heir is None:
            # Its name was this user's words.
            changes = AuditEvent.objects.filter(event=AuditEvent.Event.STAFF_CHANGE, user_id=None)
            about = {"model": Organization._meta.label_lower, "id": str(organization.pk)}
            forget_changes(changes.filter(created_at__gte=organization.created_at, details__contains=about))
            organization.delete()
        else:
            heir.role = Role.OWNER
            heir.save(update_fields=["role"])
    Membership.objects.filter(invited_by_id=user_id, user=None).delete()


def is_member(*, user_id: int, organization_id: int) -> bool:
    return Membership.objects.filter(user_id=user_id, organization_id=organization_id).exists()


def member_ids(*, organization_id: int) -> list[int]:
    """The users who are in an organization now."""
    users = Membership.objects.filter(organization_id=organization_id, user__isnull=False)
    return [user_id for user_id in users.values_list("user_id", flat=True) if user_id is not None]


def memberships_among(*, users: Collection[int], organizations: Collection[int]) -> set[tuple[int, int]]:
    """(user, organization) of those of these users who are in one of these organizations now."""
    if not organizations:
        return set()
    found = Membership.objects.filter(user_id__in=users, organization_id__in=organizations)
    return {(user_id, each) for user_id, each in found.values_list("user_id", "organization_id") if user_id is not None}


def common_organizations(user_id: int, other_id: int) -> set[int]:
    """The organizations that both users are in now."""
    own = Membership.objects.filter(user_id=user_id, organization__memberships__user_id=other_id)
    return set(own.values_list("organization_id", flat=True))


def _find_member(organization: Organization, member_id: int) -> Membership:
    member = Membership.objects.filter(organization=organization, user_id=member_id).select_related("user").first()
    if member is None:
        raise MemberNotFound
    return member


def _withdraw_invitations(member: Membership, role: str | None) -> None:
    """Those that this member has made and, with the new role or none, may no longer make."""
    made = Membership.objects.filter(organization=member.organization, invited_by=member.user, user=None)
    kept = [each for each in Role.values if is_allowed(managing(each), role=role, is_superuser=False)]
    made.exclude(role__in=kept).delete()


def _refuse_last_owner(member: Membership) -> None:
    if member.role == Role.OWNER and not _owners(member.organization).exclude(pk=member.pk).exists():
        raise LastOwner


def _owners(organization: Organization) -> QuerySet[Membership]:
    """Those who can act: a deactivated account owns nothing alone."""
    return Membership.objects.filter(organization=organization, role=Role.OWNER, user__is_active=True)
