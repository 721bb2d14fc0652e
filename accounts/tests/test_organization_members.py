"""GET and POST /organizations/{id}/members, PATCH and DELETE on one of them, and invitations."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from django.db import connection, transaction

from accounts import members
from accounts.members import MAX_MEMBERS, accept_invitations
from accounts.models import Membership, Organization, User
from accounts.tests.organizations import active, join, members_of, new_organization, verify
from accounts.tests.staff import superuser
from conftest import Person, assert_error, at_once
from edgechat.local.web import WebServer

Register = Callable[..., Person]
LAST_OWNER = "The last owner of an organization can neither leave nor get another role"
ALREADY = "This address is a member, or invited, already"


def add(person: Person, organization: Organization, email: str, role: str = "member") -> httpx2.Response:
    return person.post(f"organizations/{organization.pk}/members", json={"email": email, "role": role})


def assert_refused(answer: httpx2.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def verified_by_staff(web_url: str, person: Person) -> None:
    with superuser(web_url) as root:
        assert root.submit(f"accounts/user/{person.id}/change/", is_verified="on").status_code == 302
    assert person.get("users/me").json()["is_verified"] is True


def test_adding_an_address_tells_nothing_of_its_account(alice: Person, bob: Person, register: Register) -> None:
    carol = register("carol")
    verify(bob)
    organization = new_organization(owner=alice)
    emails = [bob.email, carol.email, "nobody-" + bob.email]
    answers = [add(alice, organization, email, "admin") for email in emails]
    for email, answer in zip(emails, answers, strict=True):
        assert (answer.status_code, answer.json()) == (
            201,
            {"user_id": None, "email": email, "role": "admin", "status": "invited"},
        )
        assert_error(add(alice, organization, email.upper()), 409, "already_member", ALREADY)
    known = [set(answer.headers) for answer in answers]
    assert known[0] == known[1] == known[2]


def test_the_list_shows_who_is_in_and_who_is_invited(alice: Person, bob: Person, register: Register) -> None:
    carol = register("carol")
    verify(bob)
    organization = new_organization(owner=alice)
    for person in (bob, carol):
        assert add(alice, organization, person.email.title(), "admin").status_code == 201
    invitation = Membership.objects.get(organization=organization, user=None)
    told = [
        active(alice, "owner"),
        active(bob, "admin"),
        {
            "user_id": None,
            "email": carol.email.title(),
            "role": "admin",
            "status": "invited",
            "invitation_id": invitation.pk,
        },
    ]
    assert members_of(alice, organization) == told
    assert members_of(bob, organization) == told
    assert carol.get("organizations").json() == {"organizations": []}
    answer = carol.get(f"organizations/{organization.pk}/members")
    assert_error(answer, 404, "not_found", "Organization not found")


def test_without_a_role_the_new_one_is_a_member(alice: Person) -> None:
    organization = new_organization(owner=alice)
    answer = alice.post(f"organizations/{organization.pk}/members", json={"email": "new@example.com"})
    assert (answer.status_code, answer.json()["role"]) == (201, "member")


def test_an_invitation_is_taken_up_when_the_address_is_verified(
    web_url: str, alice: Person, register: Register
) -> None:
    first, second = new_organization("First", owner=alice), new_organization("Second", owner=alice)
    carol = register("carol")
    assert add(alice, first, carol.email.upper(), "admin").status_code == 201
    assert add(alice, second, carol.email).status_code == 201
    assert carol.get("organizations").json() == {"organizations": []}
    verified_by_staff(web_url, carol)
    listed = carol.get("organizations").json()["organizations"]
    assert [(one["name"], one["role"]) for one in listed] == [("First", "admin"), ("Second", "member")]
    assert members_of(alice, first) == [active(alice, "owner"), active(carol, "admin")]


def test_who_registers_an_invited_address_is_let_in_only_when_it_is_verified(web_url: str, alice: Person) -> None:
    organization = new_organization(owner=alice)
    email = f"invited-{alice.email}"
    assert add(alice, organization, email).status_code == 201
    tokens = alice.post("auth/register", json={"email": email, "password": "password of dora"}).json()
    with alice.signed_in(tokens["access_token"]) as dora:
        assert dora.get("organizations").json() == {"organizations": []}
        user = User.objects.get(email=email)
        assert accept_invitations(user) == 0
        with superuser(web_url) as root:
            assert root.submit(f"accounts/user/{user.pk}/change/", is_verified="on").status_code == 302
        assert [one["id"] for one in dora.get("organizations").json()["organizations"]] == [organization.pk]


def test_an_invitation_of_somebody_who_is_in_it_already_ends(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice, member=bob)
    Membership.objects.create(organization=organization, invited_email=bob.email.upper(), role="admin")
    verify(bob)
    assert accept_invitations(User.objects.get(pk=bob.id)) == 0
    assert members_of(bob, organization) == [active(alice, "owner"), active(bob, "member")]


def test_who_is_verified_while_being_invited_is_in(alice: Person, bob: Person, eventually: Callable[..., Any]) -> None:
    organization = new_organization(owner=alice)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            verify(bob)
            assert accept_invitations(User.objects.get(pk=bob.id)) == 0
            adding = pool.submit(add, alice, organization, bob.email)
            eventually(lambda: adding.done() or blocks_another())
        assert adding.result().status_code == 201
    assert members_of(alice, organization)[-1] == active(bob, "member")


def test_an_account_in_as_many_organizations_as_can_be_stays_invited(
    alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MAX_MEMBERSHIPS", 2)
    organizations = [new_organization(owner=alice) for _ in range(3)]
    for organization in organizations:
        assert add(alice, organization, bob.email).status_code == 201
    verify(bob)
    assert accept_invitations(User.objects.get(pk=bob.id)) == 2
    assert accept_invitations(User.objects.get(pk=bob.id)) == 0
    statuses = [members_of(alice, organization)[-1]["status"] for organization in organizations]
    assert statuses == ["active", "active", "invited"]


def test_an_invitation_that_was_taken_back_lets_nobody_in(web_url: str, alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    assert add(alice, organization, bob.email).status_code == 201
    path = f"organizations/{organization.pk}/invitations/{members_of(alice, organization)[1]['invitation_id']}"
    answer = alice.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert_error(alice.delete(path), 404, "not_found", "Invitation not found")
    verified_by_staff(web_url, bob)
    assert bob.get("organizations").json() == {"organizations": []}
    assert members_of(alice, organization) == [active(alice, "owner")]


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
    User.objects.filter(pk=carol.id).update(is_active=False)  # and so cannot act
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
    answers = at_once(3, lambda number: add(alice, organization, f"new-{number}@example.com"))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    verify(bob)
    detail = "An organization can have 500 members and invitations"
    for email in (bob.email, "another@example.com"):
        assert_error(add(alice, organization, email), 409, "too_many_members", detail, context={"limit": 500})
    assert Membership.objects.filter(organization=organization).count() == MAX_MEMBERS
    organization.delete()


def test_one_address_adds_few_and_reads_as_ever(start_web: Callable[..., WebServer], register: Register) -> None:
    web = start_web(AUTH_RATE_LIMIT="3/h")
    alice = register("alice", web.url)
    organization = new_organization(owner=alice)
    address = {"X-Forwarded-For": "10.255.0.1"}
    alice.event_hooks = {"request": []}
    alice.headers.update(address)
    for number in range(3):
        assert add(alice, organization, f"{number}@example.com").status_code == 201
    assert_error(add(alice, organization, "3@example.com"), 429, "rate_limited", "Too many requests")
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


def test_staff_choose_the_user_where_there_is_one(web_url: str, bob: Person) -> None:
    verify(bob)
    organization = new_organization()
    with superuser(web_url) as root:
        path = f"accounts/organization/{organization.pk}/change/"
        form = {"memberships-TOTAL_FORMS": "1", "memberships-0-role": "member", "memberships-0-user": ""}
        answer = root.submit(path, **form, **{"memberships-0-invited_email": bob.email.upper()})
        assert answer.status_code == 200
        assert "This e-mail has a verified account: choose the user." in answer.text
        answer = root.submit(path, **form, **{"memberships-0-invited_email": "new@example.com"})
        assert answer.status_code == 302
    assert list(organization.memberships.values_list("invited_email", "role")) == [("new@example.com", "member")]


def blocks_another() -> bool:
    """Whether somebody waits for a lock that this connection holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])
