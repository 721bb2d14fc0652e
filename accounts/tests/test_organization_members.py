"""GET and POST /organizations/{id}/members, PATCH and DELETE of a member, and invitations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from accounts.models import Membership, Organization, User
from accounts.organizations.members import MAX_MEMBERS
from accounts.tests.organizations import active, invite, join, members_of, new_organization, verify
from conftest import Person, assert_error, at_once
from edgechat.tests.web_settings import SMALL

Register = Callable[..., Person]
LAST_OWNER = "The last owner of an organization can neither leave nor get another role"


def assert_refused(answer: httpx2.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_without_a_role_the_new_one_is_a_member(alice: Person) -> None:
    organization = new_organization(owner=alice)
    answer = alice.post(f"organizations/{organization.pk}/members", json={"email": "new@example.com"})
    assert (answer.status_code, answer.json()["role"]) == (201, "member")


def test_an_invitation_is_found_by_its_own_organization_only(alice: Person, bob: Person) -> None:
    organization, other = new_organization(owner=alice), new_organization(owner=bob)
    invited = Membership.objects.create(organization=other, invited_email="new@example.com")
    member = Membership.objects.get(organization=organization)
    for pk in (invited.pk, member.pk):
        answer = alice.delete(f"organizations/{organization.pk}/invitations/{pk}")
        assert_error(answer, 404, "not_found", "Invitation not found")
    for method in ("PATCH", "DELETE"):
        answer = alice.request(method, f"organizations/{organization.pk}/members/{bob.id}", json={"role": "admin"})
        assert_error(answer, 404, "not_found", "Member not found")
    assert Membership.objects.filter(organization=other).count() == 2


def test_a_role_is_changed(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice, member=bob)
    for role in ("admin", "owner", "member"):
        answer = alice.patch(f"organizations/{organization.pk}/members/{bob.id}", json={"role": role})
        assert (answer.status_code, answer.json()) == (200, active(bob, role))
        assert members_of(bob, organization) == [active(alice, "owner"), active(bob, role)]


def test_who_is_removed_is_a_stranger_at_once(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice, admin=bob)
    assert bob.get(f"organizations/{organization.pk}").status_code == 200
    assert alice.delete(f"organizations/{organization.pk}/members/{bob.id}").status_code == 204
    assert_error(bob.get(f"organizations/{organization.pk}"), 404, "not_found", "Organization not found")
    assert members_of(alice, organization) == [active(alice, "owner")]


def test_the_last_owner_neither_leaves_nor_gets_another_role(alice: Person, bob: Person, register: Register) -> None:
    carol = register("carol")
    organization = new_organization(owner=alice, admin=bob)
    Membership.objects.create(organization=organization, invited_email="owner@example.com", role="owner")
    join(organization, carol, "owner")
    User.objects.filter(pk=carol.id).update(is_active=False)  # so carol does not count as an owner
    own = f"organizations/{organization.pk}/members/{alice.id}"
    before = members_of(bob, organization)
    for role in ("admin", "member"):
        assert_error(alice.patch(own, json={"role": role}), 409, "last_owner", LAST_OWNER)
    assert_error(alice.delete(own), 409, "last_owner", LAST_OWNER)
    assert members_of(bob, organization) == before
    assert alice.patch(own, json={"role": "owner"}).json() == active(alice, "owner")
    assert alice.delete(f"organizations/{organization.pk}/members/{carol.id}").status_code == 204
    assert alice.patch(f"organizations/{organization.pk}/members/{bob.id}", json={"role": "owner"}).status_code == 200
    assert alice.delete(own).status_code == 204
    assert alice.get("organizations").json() == {"organizations": []}


@pytest.mark.parametrize("each_other", [False, True], ids=["themselves", "each other"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_of_two_owners_who_go_at_once_one_stays(alice: Person, bob: Person, method: str, each_other: bool) -> None:
    owners = (alice, bob)
    for organization in [new_organization(owner=alice, owner_2=bob) for _ in range(6)]:
        path = f"organizations/{organization.pk}/members"

        def go(number: int, path: str = path) -> int:
            gone = owners[number != each_other]
            return owners[number].request(method, f"{path}/{gone.id}", json={"role": "member"}).status_code

        assert len(set(at_once(2, go))) == 2
        assert Membership.objects.filter(organization=organization, role="owner").count() == 1


def test_an_organization_has_500_members_and_invitations_at_most(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    invitations = [
        Membership(organization=organization, invited_email=f"{number}@example.com")
        for number in range(MAX_MEMBERS - 2)
    ]
    Membership.objects.bulk_create(invitations)
    answers = at_once(3, lambda number: invite(alice, organization, f"new-{number}@example.com"))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    verify(bob)
    detail = "An organization can have 500 members and invitations"
    for email in (bob.email, "another@example.com"):
        assert_error(invite(alice, organization, email), 409, "too_many_members", detail, context={"limit": 500})
    assert Membership.objects.filter(organization=organization).count() == MAX_MEMBERS
    organization.delete()


def test_one_address_adds_few_and_reads_as_ever(web_with: Callable[..., str], register: Register) -> None:
    alice = register("alice", web_with(**SMALL))
    organization = new_organization(owner=alice)
    address = {"X-Forwarded-For": "10.255.0.1"}
    alice.event_hooks = {"request": []}
    alice.headers.update(address)
    for number in range(3):
        assert invite(alice, organization, f"{number}@example.com").status_code == 201
    assert_error(invite(alice, organization, "3@example.com"), 429, "rate_limited", "Too many requests")
    assert len(members_of(alice, organization)) == 4


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.email"),
        ({"email": "nobody", "role": "member"}, "body.email"),
        ({"email": f"{'x' * 250}@example.com", "role": "member"}, "body.email"),
        ({"email": "new@example.com", "role": "king"}, "body.role"),
        ({"email": "new@example.com", "role": None}, "body.role"),
        ({"email": "new@example.com", "role": ["owner"]}, "body.role"),
    ],
)
def test_a_new_member_has_an_address_and_a_role(alice: Person, body: dict[str, Any], field: str) -> None:
    organization = new_organization(owner=alice)
    assert_refused(alice.post(f"organizations/{organization.pk}/members", json=body), field)


@pytest.mark.parametrize("body", [{}, {"role": "king"}, {"role": None}, {"role": 1}])
def test_a_role_is_one_of_three(alice: Person, bob: Person, body: dict[str, Any]) -> None:
    organization = new_organization(owner=alice, member=bob)
    assert_refused(alice.patch(f"organizations/{organization.pk}/members/{bob.id}", json=body), "body.role")


def test_when_the_last_owner_s_account_is_deleted_the_longest_admin_owns_it(
    alice: Person, bob: Person, register: Register
) -> None:
    carol, dora = register("carol"), register("dora")
    organization = new_organization(owner=alice, member=bob, admin=carol, admin_2=dora)
    assert alice.delete("users/me").status_code == 204
    told = members_of(carol, organization)
    assert told == [active(bob, "member"), active(carol, "owner"), active(dora, "admin")]
    assert carol.delete("users/me").status_code == 204
    assert dora.delete("users/me").status_code == 204
    assert members_of(bob, organization) == [active(bob, "owner")]
    Membership.objects.create(organization=organization, invited_email="new@example.com")
    assert bob.delete("users/me").status_code == 204
    assert not Organization.objects.filter(pk=organization.pk).exists()


def test_an_organization_of_the_deactivated_is_kept_for_them(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice, member=bob)
    User.objects.filter(pk=bob.id).update(is_active=False)
    assert alice.delete("users/me").status_code == 204
    assert list(organization.memberships.values_list("user_id", "role")) == [(bob.id, "owner")]
