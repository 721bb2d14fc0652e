"""The members of organizations, and invitations of e-mail addresses, which `invitations` accepts."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from accounts.audit import forget_changes, record_membership
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.organizations.queries import access_organization
from accounts.permissions import Action, Role, is_allowed, managing
from edgechat.errors import ApiError, LimitContext, NotFound
from edgechat.http.client_address import Caller

# Invitations count too, as they become members.
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


def change_role(*, user: User, organization_id: int, member_id: int, role: str, caller: Caller) -> Membership:
    """Change a role. Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner."""
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
    """Remove a member, or leave.

    Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner.
    """
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
    """End all memberships of an account that is being deleted. Call it in a transaction.

    An organization that loses its last owner gets another one: the admin with the longest membership, or else the
    member. An organization with no user left, not even a deactivated one, is deleted.
    """
    organizations = Organization.objects.select_for_update(no_key=True, of=("self",)).order_by("pk")
    for organization in organizations.filter(memberships__user_id=user_id):
        organization.memberships.filter(user_id=user_id).delete()
        if _owners(organization).exists():
            continue
        # Alphabetically, "admin" comes before "member".
        left = organization.memberships.filter(user__isnull=False).order_by("role", "pk")
        # Deactivated users may be activated again, so one of them becomes the owner if no user is active, owners first.
        heir = left.filter(user__is_active=True).first() or left.filter(role=Role.OWNER).first() or left.first()
        if heir is None:
            # The audit log must not keep the name, which this user wrote.
            changes = AuditEvent.objects.filter(event=AuditEvent.Event.STAFF_CHANGE, user_id=None)
            about = {"model": Organization._meta.label_lower, "id": str(organization.pk)}
            forget_changes(changes.filter(created_at__gte=organization.created_at, details__contains=about))
            organization.delete()
        else:
            heir.role = Role.OWNER
            heir.save(update_fields=["role"])
    Membership.objects.filter(invited_by_id=user_id, user=None).delete()


def _find_member(organization: Organization, member_id: int) -> Membership:
    member = Membership.objects.filter(organization=organization, user_id=member_id).select_related("user").first()
    if member is None:
        raise MemberNotFound
    return member


def _withdraw_invitations(member: Membership, role: str | None) -> None:
    """Delete the invitations by this member that the new role does not allow. `role` None: the member has left."""
    made = Membership.objects.filter(organization=member.organization, invited_by=member.user, user=None)
    kept = [each for each in Role.values if is_allowed(managing(each), role=role, is_superuser=False)]
    made.exclude(role__in=kept).delete()


def _refuse_last_owner(member: Membership) -> None:
    if member.role == Role.OWNER and not _owners(member.organization).exclude(pk=member.pk).exists():
        raise LastOwner


def _owners(organization: Organization) -> QuerySet[Membership]:
    """The active owners: a deactivated account does not count as an owner."""
    return Membership.objects.filter(organization=organization, role=Role.OWNER, user__is_active=True)
