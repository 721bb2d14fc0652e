"""POST and GET /organizations; GET, PATCH and DELETE /organizations/{id}."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Membership, Organization, User
from accounts.organizations.services import MAX_ORGANIZATIONS
from accounts.tests.organizations import join, new_organization
from accounts.tests.staff import make_user
from conftest import Person, assert_error, at_once


def assert_invalid(answer: Any, field: str, message: str) -> None:
    assert_error(answer, 422, "validation_error", "Validation error", errors=[{"field": field, "message": message}])


def test_who_makes_an_organization_owns_it(alice: Person) -> None:
    answer = alice.post("organizations", json={"name": " The Analytical Society "})
    body = answer.json()
    assert answer.status_code == 201
    assert body == {
        "id": body["id"],
        "name": "The Analytical Society",
        "role": "owner",
        "created_at": body["created_at"],
    }
    assert isinstance(body["id"], int)
    assert body["created_at"].endswith("Z")
    assert alice.get(f"organizations/{body['id']}").json() == body
    assert alice.get("organizations").json() == {"organizations": [body]}


def test_the_list_has_ones_own_role_in_each(alice: Person, bob: Person) -> None:
    readers = new_organization("Readers", owner=bob, admin=alice)
    new_organization("Others", owner=bob)
    writers = new_organization("Writers", owner=bob)
    join(writers, alice, "member")
    listed = alice.get("organizations").json()["organizations"]
    assert [(one["id"], one["name"], one["role"]) for one in listed] == [
        (readers.pk, "Readers", "admin"),
        (writers.pk, "Writers", "member"),
    ]


def test_without_organizations_the_list_is_empty(alice: Person) -> None:
    answer = alice.get("organizations")
    assert (answer.status_code, answer.json()) == (200, {"organizations": []})


def test_an_organization_is_renamed(alice: Person) -> None:
    before = alice.post("organizations", json={"name": "Readers"}).json()
    answer = alice.patch(f"organizations/{before['id']}", json={"name": "Writers"})
    assert (answer.status_code, answer.json()) == (200, {**before, "name": "Writers"})
    assert alice.get(f"organizations/{before['id']}").json() == answer.json()


def test_a_deleted_organization_is_gone_with_its_members(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice, member=bob)
    answer = alice.delete(f"organizations/{organization.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    for person in (alice, bob):
        assert_error(person.get(f"organizations/{organization.pk}"), 404, "not_found", "Organization not found")
        assert person.get("organizations").json() == {"organizations": []}
    assert not Membership.objects.filter(organization_id=organization.pk).exists()


def test_a_superuser_sees_any_and_lists_those_that_he_is_in(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    User.objects.filter(pk=bob.id).update(is_superuser=True)
    seen = alice.get(f"organizations/{organization.pk}").json()
    assert bob.get(f"organizations/{organization.pk}").json() == {**seen, "role": None}
    assert bob.get("organizations").json() == {"organizations": []}
    assert_error(bob.get(f"organizations/{2**62}"), 404, "not_found", "Organization not found")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "This field is required."),
        ({"name": None}, "This field may not be null."),
        ({"name": " "}, "This field may not be blank."),
        ({"name": "n" * 256}, "Ensure this field has no more than 255 characters."),
        ({"name": "a\0b"}, "Null characters are not allowed."),
        ({"name": ["Readers"]}, "Not a valid string."),
    ],
)
def test_a_name_has_1_to_255_characters(alice: Person, body: dict[str, Any], message: str) -> None:
    organization = new_organization(owner=alice)
    assert_invalid(alice.post("organizations", json=body), "body.name", message)
    assert_invalid(alice.patch(f"organizations/{organization.pk}", json=body), "body.name", message)
    assert alice.post("organizations", json={"name": "😀" * 255}).status_code == 201


@pytest.mark.parametrize("malformed", ["x", "0", "-1", "1.0", "%20", "9" * 30, "٣", "0" * 24])
def test_a_malformed_id_is_422(alice: Person, malformed: str) -> None:
    own = new_organization(owner=alice).pk
    for method, path in (
        ("GET", f"organizations/{malformed}"),
        ("PATCH", f"organizations/{malformed}"),
        ("DELETE", f"organizations/{malformed}"),
        ("GET", f"organizations/{malformed}/members"),
        ("POST", f"organizations/{malformed}/members"),
        ("PATCH", f"organizations/{own}/members/{malformed}"),
        ("DELETE", f"organizations/{own}/members/{malformed}"),
        ("DELETE", f"organizations/{malformed}/members/{alice.id}"),
    ):
        answer = alice.request(method, path, json={} if method in ("POST", "PATCH") else None)
        assert_invalid(answer, "path.id", "A valid integer is required.")
    for method, path in (
        ("DELETE", f"organizations/{own}/invitations/{malformed}"),
        ("DELETE", f"organizations/invitations/{malformed}"),
        ("POST", f"organizations/invitations/{malformed}/accept"),
    ):
        assert_error(alice.request(method, path), 404, "not_found", "Invitation not found")


def test_one_account_makes_50_at_most_also_at_once(alice: Person) -> None:
    made = [Organization(name="Readers", created_by_id=alice.id) for _ in range(MAX_ORGANIZATIONS - 1)]
    Organization.objects.bulk_create(made)
    owner = make_user("owner")
    for name in ("Theirs", "Others"):  # becoming an owner does not use up the limit
        join(new_organization(name, owner=owner), alice, "owner")
    answers = at_once(4, lambda _: alice.post("organizations", json={"name": "The last"}))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    for answer in answers:
        if answer.status_code == 409:
            detail = "An account can make 50 organizations"
            assert_error(answer, 409, "too_many_organizations", detail, context={"limit": 50})
    last = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    assert alice.delete(f"organizations/{last}").status_code == 204
    assert alice.post("organizations", json={"name": "Another"}).status_code == 201
