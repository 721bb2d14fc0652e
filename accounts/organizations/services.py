"""Services for organizations. For their members, see accounts.organizations.members."""

from __future__ import annotations

from django.db import transaction

from accounts.audit import record_event
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.open_calls.live_accounts import lock_account
from accounts.organizations.queries import access_organization
from accounts.permissions import Access, Action, Role
from edgechat.errors import ApiError, LimitContext
from edgechat.http.client_address import Caller

# Existing organizations that a user has created, whether or not the user still owns them. A user who only becomes an
# owner does not use up this limit.
MAX_ORGANIZATIONS = 50


class TooManyOrganizations(ApiError):
    status, code, detail = 409, "too_many_organizations", f"An account can make {MAX_ORGANIZATIONS} organizations"
    context_body = LimitContext

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(detail, context=LimitContext(limit=limit))


def record_by_staff(
    access: Access, *, actor: User, caller: Caller, before: dict[str, str] | None, after: dict[str, str] | None
) -> None:
    """Record a superuser's change to an organization of other users as a change by staff, as in the admin."""
    if access.role is None:
        record_event(
            AuditEvent.Event.STAFF_CHANGE,
            caller=caller,
            actor_id=actor.pk,
            model=Organization._meta.label_lower,
            id=str(access.organization.pk),
            before=before,
            after=after,
        )


def create_organization(*, user: User, name: str) -> Access:
    """Create an organization that the user owns. Raises TooManyOrganizations."""
    with transaction.atomic():
        # Lock the account, so that two simultaneous calls do not both pass the limit.
        lock_account(user.pk)
        if Organization.objects.filter(created_by=user).count() >= MAX_ORGANIZATIONS:
            raise TooManyOrganizations(f"An account can make {MAX_ORGANIZATIONS} organizations", MAX_ORGANIZATIONS)
        organization = Organization.objects.create(name=name, created_by=user)
        Membership.objects.create(organization=organization, user=user, role=Role.OWNER)
    return Access(organization, Role.OWNER, user.is_superuser)


def rename_organization(*, user: User, organization_id: int, name: str, caller: Caller) -> Access:
    """Rename an organization. Raises OrganizationNotFound and PermissionDenied."""
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.RENAME)
        before = {"name": access.organization.name}
        record_by_staff(access, actor=user, caller=caller, before=before, after={"name": name})
        access.organization.name = name
        access.organization.save(update_fields=["name"])
    return access


def delete_organization(*, user: User, organization_id: int, caller: Caller) -> None:
    """Delete an organization. Conversations stay with their authors.

    Raises OrganizationNotFound and PermissionDenied.
    """
    with transaction.atomic():
        access = access_organization(user=user, organization_id=organization_id, lock=True)
        access.require(Action.DELETE)
        before = {"name": access.organization.name}
        record_by_staff(access, actor=user, caller=caller, before=before, after=None)
        access.organization.delete()
