"""Invitations of e-mail addresses to organizations, and how a user accepts them.

A user becomes a member only by accepting. Only the account that has verified the address can accept; otherwise a user
could register another person's address and get in. An invitation does not look up an account, so the inviting user
learns nothing.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Coalesce

from accounts.addresses import email_key
from accounts.audit import record_membership
from accounts.models import Membership, Organization, User
from accounts.open_calls.live_accounts import lock_account
from accounts.organizations.members import MAX_MEMBERS, TooManyMembers
from accounts.organizations.queries import access_organization, invitations_of
from accounts.organizations.services import TooManyOrganizations, record_by_staff
from accounts.permissions import Access, Action, managing
from edgechat.errors import ApiError, NotFound, PermissionDenied
from edgechat.http.client_address import Caller

MAX_MEMBERSHIPS = 500


class InvitationNotFound(NotFound):
    detail = "Invitation not found"


class AlreadyMember(ApiError):
    status, code, detail = 409, "already_member", "This address is a member, or invited, already"


def invite(*, user: User, organization_id: int, email: str, role: str, caller: Caller) -> Membership:
    """Invite an address.

    Raises OrganizationNotFound, PermissionDenied, AlreadyMember and TooManyMembers.
    """
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(managing(role))
        lock_account(user.pk)
        if access.role is None and email_key(email) == email_key(user.email):
            raise PermissionDenied("Nobody invites themselves")
        members = Membership.objects.filter(organization=access.organization)
        key = Coalesce("user__email_key", "invited_email_key")
        if members.annotate(key=key).filter(key=email_key(email)).exists():
            raise AlreadyMember
        if members.count() >= MAX_MEMBERS:
            raise TooManyMembers
        record_by_staff(access, actor=user, caller=caller, before=None, after={"invited": role})
        return Membership.objects.create(
            organization=access.organization, invited_email=email, invited_by=user, role=role
        )


def revoke_invitation(*, user: User, organization_id: int, invitation_id: int, caller: Caller) -> None:
    """Delete an invitation.

    Raises OrganizationNotFound, PermissionDenied and InvitationNotFound; the latter also for an accepted invitation.
    """
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.MANAGE_MEMBERS)
        invitations = Membership.objects.select_for_update().filter(organization=access.organization, user=None)
        invitation = invitations.filter(pk=invitation_id).first()
        if invitation is None:
            raise InvitationNotFound
        access.require(managing(invitation.role))
        record_by_staff(access, actor=user, caller=caller, before={"invited": invitation.role}, after=None)
        invitation.delete()


def accept_invitation(*, user: User, invitation_id: int, caller: Caller) -> Access:
    """Accept an invitation. Accepting it again changes nothing.

    Raises TooManyOrganizations, and InvitationNotFound, also for another user's or a revoked invitation.
    """
    found = _find(user, invitation_id)
    with transaction.atomic():
        # The lock order is the same everywhere: organizations before users.
        organization = Organization.objects.select_for_update(no_key=True).filter(pk=found.organization_id).first()
        account = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True).first()
        if organization is None or account is None:
            raise InvitationNotFound
        invitation = _find(account, invitation_id)
        member = Membership.objects.filter(organization=organization, user=account).first()
        if member is None:
            if account.memberships.count() >= MAX_MEMBERSHIPS:
                raise TooManyOrganizations(f"An account can be in {MAX_MEMBERSHIPS} organizations", MAX_MEMBERSHIPS)
            invitation.user, invitation.invited_email = account, ""
            invitation.save(update_fields=["user", "invited_email", "invited_email_key"])
            member = invitation
            record_membership(member, caller=caller, actor_id=user.pk, before=None, after=member.role)
        elif member.pk != invitation.pk:  # staff added the user meanwhile
            invitation.delete()
    return Access(organization, member.role, user.is_superuser)


def decline_invitation(*, user: User, invitation_id: int) -> None:
    """Decline an invitation. Raises InvitationNotFound, also for an accepted one."""
    found = _find(user, invitation_id)
    with transaction.atomic():
        Organization.objects.select_for_update(no_key=True).filter(pk=found.organization_id).first()
        invitation = invitations_of(user).filter(pk=invitation_id).first()
        if invitation is None:
            raise InvitationNotFound
        invitation.delete()


def _find(user: User, invitation_id: int) -> Membership:
    """The invitation of this user with this id, open or accepted."""
    own = Q(user=user) | Q(pk__in=invitations_of(user).values("pk"))
    invitation = Membership.objects.filter(own, pk=invitation_id).first()
    if invitation is None:
        raise InvitationNotFound
    return invitation
