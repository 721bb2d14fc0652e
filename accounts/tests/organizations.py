"""Organizations and members, stored directly, for tests of permissions."""

from __future__ import annotations

from typing import Any

import httpx2

from accounts.models import Membership, Organization, User
from conftest import Person, assert_error


def new_organization(name: str = "Readers", **people: Person | User) -> Organization:
    """An organization with these members: `new_organization(owner=alice, member=bob)`; `member_2` is also a member."""
    organization = Organization.objects.create(name=name)
    for role, person in people.items():
        join(organization, person, role.partition("_")[0])
    return organization


def join(organization: Organization, person: Person | User, role: str = "member") -> None:
    user_id = person.id if isinstance(person, Person) else person.pk
    Membership.objects.create(organization=organization, user_id=user_id, role=role)


def verify(person: Person) -> None:
    """Mark the address as verified, as the e-mail of the registration would."""
    User.objects.filter(pk=person.id).update(is_verified=True)


def invite(person: Person, organization: Organization, email: str, role: str = "member") -> httpx2.Response:
    return person.post(f"organizations/{organization.pk}/members", json={"email": email, "role": role})


def invited(person: Person, organization: Organization, email: str, role: str = "member") -> str:
    """The id of a new invitation."""
    answer = invite(person, organization, email, role)
    assert answer.status_code == 201, answer.text
    invitation_id: str = answer.json()["invitation_id"]
    return invitation_id


def invitations_of(person: Person) -> list[dict[str, Any]]:
    answer = person.get("organizations/invitations")
    assert (answer.status_code, list(answer.json())) == (200, ["invitations"]), answer.text
    invitations: list[dict[str, Any]] = answer.json()["invitations"]
    return invitations


def accept(person: Person, invitation_id: str) -> httpx2.Response:
    return person.post(f"organizations/invitations/{invitation_id}/accept")


def assert_no_invitation(answer: httpx2.Response) -> None:
    assert_error(answer, 404, "not_found", "Invitation not found")


def members_of(person: Person, organization: Organization) -> list[dict[str, Any]]:
    answer = person.get(f"organizations/{organization.pk}/members")
    assert answer.status_code == 200, answer.text
    members: list[dict[str, Any]] = answer.json()["members"]
    return members


def active(person: Person, role: str) -> dict[str, Any]:
    """The entry of this person in a list of members."""
    return {
        "user_id": person.id,
        "email": person.email,
        "role": role,
        "status": "active",
        "invitation_id": None,
    }
