"""Organizations and their people, stored directly, for tests of what they may do."""

from __future__ import annotations

from typing import Any

from accounts.models import Membership, Organization, User
from conftest import Person


def new_organization(name: str = "Readers", **people: Person | User) -> Organization:
    """An organization with these people: `new_organization(owner=alice, member=bob)`; `member_2` is a member too."""
    organization = Organization.objects.create(name=name)
    for role, person in people.items():
        join(organization, person, role.partition("_")[0])
    return organization


def join(organization: Organization, person: Person | User, role: str = "member") -> None:
    user_id = person.id if isinstance(person, Person) else person.pk
    Membership.objects.create(organization=organization, user_id=user_id, role=role)


def verify(person: Person) -> None:
    """As if the address had been verified before anybody invited it."""
    User.objects.filter(pk=person.id).update(is_verified=True)


def members_of(person: Person, organization: Organization) -> list[dict[str, Any]]:
    answer = person.get(f"organizations/{organization.pk}/members")
    assert answer.status_code == 200, answer.text
    members: list[dict[str, Any]] = answer.json()["members"]
    return members


def active(person: Person, role: str) -> dict[str, Any]:
    """How a list of members shows this person."""
    return {
        "user_id": person.id,
        "email": person.email,
        "role": role,
        "status": "active",
        "invitation_id": None,
    }
