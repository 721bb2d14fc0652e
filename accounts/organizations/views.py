"""Calls for organizations, their members and invitations."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.throttling import BaseThrottle

from accounts.organizations.invitations import (
    AlreadyMember,
    InvitationNotFound,
    accept_invitation,
    decline_invitation,
    invite,
    revoke_invitation,
)
from accounts.organizations.members import LastOwner, TooManyMembers, change_role, remove_member
from accounts.organizations.queries import (
    get_organization,
    list_invitations,
    list_members,
    list_organizations,
)
from accounts.organizations.serializers import (
    InvitationsOutput,
    MemberInput,
    MemberOutput,
    MembersOutput,
    OrganizationInput,
    OrganizationOutput,
    OrganizationsOutput,
    RoleInput,
    invitation_body,
    member_body,
    organization_body,
)
from accounts.organizations.services import (
    TooManyOrganizations,
    create_organization,
    delete_organization,
    rename_organization,
)
from accounts.requests import AuthenticatedRequest
from edgechat.errors import Invalid, PermissionDenied
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.rate_limit import AuthRateThrottle
from edgechat.http.validation import integer_id, validated_body
from edgechat.openapi.notes import extend_schema, raises

_ORGANIZATION_ID = OpenApiParameter("organization_id", type=int, location="path")
_MEMBER_ID = OpenApiParameter("user_id", type=int, location="path")
_INVITATION_ID = OpenApiParameter("invitation_id", type=str, location="path")


@extend_schema(tags=["organizations"])
class OrganizationsView(APIView):
    @extend_schema(operation_id="organization_create", request=OrganizationInput)
    @raises(TooManyOrganizations)
    def post(self, request: AuthenticatedRequest) -> Created[OrganizationOutput]:
        """Create an organization.

        The user becomes its owner. An account can make 50; more are 409 `too_many_organizations`.
        """
        access = create_organization(user=request.user, **validated_body(OrganizationInput, request))
        return Created(organization_body(access))

    @extend_schema(operation_id="organization_list")
    def get(self, request: AuthenticatedRequest) -> Answer[OrganizationsOutput]:
        """List the user's organizations.

        Each has the user's role in it. Invitations are listed by `invitation_list`.
        """
        organizations = [organization_body(each) for each in list_organizations(user=request.user)]
        return Answer(OrganizationsOutput(organizations=organizations))


@extend_schema(tags=["organizations"], parameters=[_ORGANIZATION_ID])
class OrganizationView(APIView):
    @extend_schema(operation_id="organization_get")
    def get(self, request: AuthenticatedRequest, organization_id: str) -> Answer[OrganizationOutput]:
        """Get one of the user's organizations.

        The answer has the user's role in it. A superuser can read any organization.
        """
        access = get_organization(user=request.user, organization_id=integer_id(organization_id))
        return Answer(organization_body(access))

    @extend_schema(operation_id="organization_update", request=OrganizationInput)
    @raises(PermissionDenied)
    def patch(self, request: AuthenticatedRequest, organization_id: str) -> Answer[OrganizationOutput]:
        """Rename an organization.

        Its owners and admins can do this.
        """
        number = integer_id(organization_id)
        data = validated_body(OrganizationInput, request)
        caller = caller_of(request._request)
        access = rename_organization(user=request.user, organization_id=number, caller=caller, **data)
        return Answer(organization_body(access))

    @extend_schema(operation_id="organization_delete")
    @raises(PermissionDenied)
    def delete(self, request: AuthenticatedRequest, organization_id: str) -> NoContent:
        """Delete an organization.

        Only its owners can do this. Conversations stay with their authors and are no longer shared.
        """
        number, caller = integer_id(organization_id), caller_of(request._request)
        delete_organization(user=request.user, organization_id=number, caller=caller)
        return NoContent()


@extend_schema(tags=["organizations"], parameters=[_ORGANIZATION_ID])
class MembersView(APIView):
    def get_throttles(self) -> list[BaseThrottle]:
        # Other users see invitations, so their number has a rate limit.
        return [AuthRateThrottle()] if self.request.method == "POST" else []

    @extend_schema(operation_id="member_list")
    def get(self, request: AuthenticatedRequest, organization_id: str) -> Answer[MembersOutput]:
        """List members and invitations.

        The oldest come first. Every member can read them.
        """
        members = list_members(user=request.user, organization_id=integer_id(organization_id))
        return Answer(MembersOutput(members=[member_body(member) for member in members]))

    @extend_schema(operation_id="member_add", request=MemberInput)
    @raises(PermissionDenied, AlreadyMember, TooManyMembers)
    def post(self, request: AuthenticatedRequest, organization_id: str) -> Created[MemberOutput]:
        """Invite an e-mail address.

        Owners can invite with any role, admins can invite admins and members.

        The answer and the list are the same whether or not the address has an account. The account with this address,
        once verified, lists the invitation in GET `/organizations/invitations` and becomes a member by accepting it.
        The invitation ends when its author may no longer invite. An address that is already a member or invited is 409
        `already_member`. An organization can have 500 members and invitations; more are 409 `too_many_members`.
        """
        number = integer_id(organization_id)
        data = validated_body(MemberInput, request)
        caller = caller_of(request._request)
        invitation = invite(user=request.user, organization_id=number, caller=caller, **data)
        return Created(member_body(invitation))


@extend_schema(tags=["organizations"], parameters=[_ORGANIZATION_ID, _MEMBER_ID])
class MemberView(APIView):
    @extend_schema(operation_id="member_update", request=RoleInput)
    @raises(PermissionDenied, LastOwner)
    def patch(self, request: AuthenticatedRequest, organization_id: str, user_id: str) -> Answer[MemberOutput]:
        """Change the role of a member.

        Owners can give every role, admins the roles `admin` and `member`. The role of the last owner cannot change: 409
        `last_owner`.
        """
        number, member_id = integer_id(organization_id), integer_id(user_id)
        data = validated_body(RoleInput, request)
        caller = caller_of(request._request)
        member = change_role(user=request.user, organization_id=number, member_id=member_id, caller=caller, **data)
        return Answer(member_body(member))

    @extend_schema(operation_id="member_delete")
    @raises(PermissionDenied, LastOwner)
    def delete(self, request: AuthenticatedRequest, organization_id: str, user_id: str) -> NoContent:
        """Remove a member, or leave.

        Members leave by giving their own id. The last owner cannot be removed: 409 `last_owner`. The member's own
        conversations stay with the member and are no longer shared.
        """
        number, member_id, caller = integer_id(organization_id), integer_id(user_id), caller_of(request._request)
        remove_member(user=request.user, organization_id=number, member_id=member_id, caller=caller)
        return NoContent()


@extend_schema(tags=["organizations"], parameters=[_ORGANIZATION_ID, _INVITATION_ID])
class InvitationView(APIView):
    @extend_schema(operation_id="invitation_revoke")
    @raises(PermissionDenied)
    def delete(self, request: AuthenticatedRequest, organization_id: str, invitation_id: str) -> NoContent:
        """Revoke an invitation.

        The invitation is named by its `invitation_id` in the list of members. The invited user no longer finds it.
        """
        revoke_invitation(
            user=request.user,
            organization_id=integer_id(organization_id),
            invitation_id=_parse_invitation_id(invitation_id),
            caller=caller_of(request._request),
        )
        return NoContent()


@extend_schema(tags=["organizations"])
class OwnInvitationsView(APIView):
    @extend_schema(operation_id="invitation_list")
    def get(self, request: AuthenticatedRequest) -> Answer[InvitationsOutput]:
        """List the invitations to the user.

        These are the latest 500 open invitations of the user's address; none until the address is verified.
        """
        invitations = [invitation_body(invitation) for invitation in list_invitations(user=request.user)]
        return Answer(InvitationsOutput(invitations=invitations))


@extend_schema(tags=["organizations"], parameters=[_INVITATION_ID])
class OwnInvitationView(APIView):
    @extend_schema(operation_id="invitation_decline")
    def delete(self, request: AuthenticatedRequest, invitation_id: str) -> NoContent:
        """Decline an invitation.

        It disappears from the list of members, and the address can be invited again.
        """
        decline_invitation(user=request.user, invitation_id=_parse_invitation_id(invitation_id))
        return NoContent()


@extend_schema(tags=["organizations"], parameters=[_INVITATION_ID])
class AcceptInvitationView(APIView):
    @extend_schema(operation_id="invitation_accept", request=None)
    @raises(TooManyOrganizations)
    def post(self, request: AuthenticatedRequest, invitation_id: str) -> Answer[OrganizationOutput]:
        """Accept an invitation.

        The user becomes a member. Accepting it again changes nothing. An account can be in 500 organizations; more are
        409 `too_many_organizations`.
        """
        number, caller = _parse_invitation_id(invitation_id), caller_of(request._request)
        access = accept_invitation(user=request.user, invitation_id=number, caller=caller)
        return Answer(organization_body(access))


def _parse_invitation_id(text: str) -> int:
    try:
        return integer_id(text)
    except Invalid:
        raise InvitationNotFound from None
