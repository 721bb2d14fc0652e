"""Who is in an organization: members, and invitations of e-mail addresses.

An address counts as somebody's once its account is verified: until then, account or not, it is only invited. Else who
registers somebody else's address would be let in with it.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce, Lower

from accounts.models import Membership, Organization, User
from accounts.organizations import access_organization
from accounts.permissions import Action, Role, managing
from edgechat.errors import ApiError, NotFound

# Invitations count as members, for that is what they become.
MAX_MEMBERS = 500
# An invitation beyond them stays one, for a refusal would tell that the address has an account.
MAX_MEMBERSHIPS = 500


class MemberNotFound(NotFound):
    detail = "Member not found"


class InvitationNotFound(NotFound):
    detail = "Invitation not found"


class LastOwner(ApiError):
    status, code = 409, "last_owner"
    detail = "The last owner of an organization can neither leave nor get another role"


class AlreadyMember(ApiError):
    status, code, detail = 409, "already_member", "This address is a member, or invited, already"


class TooManyMembers(ApiError):
    status, code, detail = 409, "too_many_members", f"An organization can have {MAX_MEMBERS} members and invitations"

    def __init__(self) -> None:
        super().__init__(context={"limit": MAX_MEMBERS})


def list_members(*, user: User, organization_id: int) -> list[Membership]:
    """Members and invitations in the order in which they were added, with their users. Raises OrganizationNotFound."""
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ)
    return list(Membership.objects.filter(organization=access.organization).select_related("user"))


def add_member(*, user: User, organization_id: int, email: str, role: str) -> None:
    """Make the verified user with this address a member, or invite the address.

    Returns nothing in either case, for the one who adds is not told which it was. Raises OrganizationNotFound,
    PermissionDenied, AlreadyMember and TooManyMembers.
    """
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(managing(role))
        members = Membership.objects.filter(organization=access.organization)
        address = Lower(Coalesce("user__email", "invited_email"))
        if members.annotate(address=address).filter(address=Lower(Value(email))).exists():
            raise AlreadyMember
        if members.count() >= MAX_MEMBERS:
            raise TooManyMembers
        # Locked, so that who is verified at this moment is either seen to be, or sees the invitation.
        accounts = User.objects.select_for_update(no_key=True).annotate(lower_email=Lower("email"))
        invitee = accounts.filter(lower_email=Lower(Value(email))).first()
        if invitee is not None and invitee.is_verified and _room(invitee) > 0:
            Membership.objects.create(organization=access.organization, user=invitee, role=role)
        else:
            Membership.objects.create(organization=access.organization, invited_email=email, role=role)


def change_role(*, user: User, organization_id: int, member_id: int, role: str) -> Membership:
    """Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner."""
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.MANAGE_MEMBERS)
        member = _find_member(access.organization, member_id)
        access.require(managing(member.role, role))
        if role != Role.OWNER:
            _refuse_last_owner(member)
        member.role = role
        member.save(update_fields=["role"])
    return member


def remove_member(*, user: User, organization_id: int, member_id: int) -> None:
    """Remove a member, or leave. Raises OrganizationNotFound, PermissionDenied, MemberNotFound and LastOwner."""
    leaving = member_id == user.pk
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.LEAVE if leaving else Action.MANAGE_MEMBERS)
        member = _find_member(access.organization, member_id)
        if not leaving:
            access.require(managing(member.role))
        _refuse_last_owner(member)
        member.delete()


def revoke_invitation(*, user: User, organization_id: int, invitation_id: int) -> None:
    """Raises OrganizationNotFound, PermissionDenied and InvitationNotFound, also for one that was taken up."""
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.MANAGE_MEMBERS)
        invitations = Membership.objects.select_for_update().filter(organization=access.organization, user=None)
        invitation = invitations.filter(pk=invitation_id).first()
        if invitation is None:
            raise InvitationNotFound
        access.require(managing(invitation.role))
        invitation.delete()


def accept_invitations(user: User) -> int:
    """Make a user a member wherever the user's address is invited; how many organizations.

    To be called wherever an account becomes verified, after `is_verified` was stored, best in the same transaction.
    Repeatable, and does nothing for a user who is not verified.
    """
    with transaction.atomic():
        verified = User.objects.select_for_update(no_key=True).filter(
            pk=user.pk, is_verified=True, deletion_requested_at=None
        )
        account = verified.first()
        if account is None:
            return 0
        invitations = Membership.objects.annotate(lower_email=Lower("invited_email")).filter(
            user=None, lower_email=Lower(Value(account.email))
        )
        # Staff can invite, in the admin, an address that is in the organization.
        invitations.filter(organization__in=account.memberships.values("organization")).delete()
        accepted = list(invitations.order_by("pk").values_list("pk", flat=True)[: max(0, _room(account))])
        return Membership.objects.filter(pk__in=accepted, user=None).update(user=account, invited_email="")


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
            organization.delete()
        else:
            heir.role = Role.OWNER
            heir.save(update_fields=["role"])


def is_member(*, user_id: int, organization_id: int) -> bool:
    return Membership.objects.filter(user_id=user_id, organization_id=organization_id).exists()


def member_ids(*, organization_id: int) -> list[int]:
    """The users who are in an organization now."""
    users = Membership.objects.filter(organization_id=organization_id, user__isnull=False)
    return [user_id for user_id in users.values_list("user_id", flat=True) if user_id is not None]


def common_organizations(user_id: int, other_id: int) -> set[int]:
    """The organizations that both users are in now."""
    own = Membership.objects.filter(user_id=user_id, organization__memberships__user_id=other_id)
    return set(own.values_list("organization_id", flat=True))


def _find_member(organization: Organization, member_id: int) -> Membership:
    member = Membership.objects.filter(organization=organization, user_id=member_id).select_related("user").first()
    if member is None:
        raise MemberNotFound
    return member


def _refuse_last_owner(member: Membership) -> None:
    if member.role == Role.OWNER and not _owners(member.organization).exclude(pk=member.pk).exists():
        raise LastOwner


def _owners(organization: Organization) -> QuerySet[Membership]:
    """Those who can act: a deactivated account owns nothing alone."""
    return Membership.objects.filter(organization=organization, role=Role.OWNER, user__is_active=True)


def _room(user: User) -> int:
    return MAX_MEMBERSHIPS - user.memberships.count()
