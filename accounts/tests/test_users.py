"""GET /users, GET and PATCH /users/{id}."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import AuditEvent, User
from accounts.tests.logins import log_in, status_with
from accounts.tests.staff import make_user, superuser
from conftest import Api, Person, assert_error

STAFF_ONLY = "Access denied. Required role: ['admin']"
OTHER_STAFF = "Only superusers change other staff"
ROLES = "Only superusers change roles"
ONESELF = "Nobody changes their own role, or shuts themselves out"


@pytest.fixture
def helper(register: Any) -> Person:
    """A staff user without superuser rights."""
    return promoted(register("helper"), is_staff=True)


@pytest.fixture
def root(register: Any) -> Person:
    return promoted(register("root"), is_staff=True, is_superuser=True)


def promoted(person: Person, **rights: bool) -> Person:
    User.objects.filter(pk=person.id).update(**rights)
    return person


@pytest.fixture
def crowd() -> list[int]:
    """Ids of five users in ascending order, perhaps with gaps."""
    return [make_user("crowd").pk for _ in range(5)]


def assert_denied(answer: Any, detail: str) -> None:
    assert_error(answer, 403, "permission_denied", detail)


def test_users_see_themselves_and_staff_see_everybody(alice: Person, helper: Person) -> None:
    mine = alice.get(f"users/{alice.id}")
    assert (mine.status_code, mine.json()) == (200, alice.get("users/me").json())
    seen = helper.get(f"users/{alice.id}")
    assert (seen.status_code, seen.json()) == (200, mine.json())
    assert helper.get(f"users/{helper.id}").json()["role"] == "admin"


def test_other_users_are_404_like_absent_ones(alice: Person, bob: Person, helper: Person) -> None:
    for api, number in ((alice, bob.id), (alice, 2**62), (helper, 2**62)):
        assert_error(api.get(f"users/{number}"), 404, "not_found", "Not found")
        change = api.patch(f"users/{number}", json={"is_active": False})
        assert_error(change, 404, "not_found", "Not found")


@pytest.mark.parametrize("given", ["x", "0", "-1", "1.0", "9" * 20, "\u0661"])
def test_what_is_no_number_is_422(alice: Person, helper: Person, given: str) -> None:
    errors = [{"field": "path.id", "message": "A valid integer is required."}]
    assert_error(alice.get(f"users/{given}"), 422, "validation_error", "Validation error", errors=errors)
    assert_error(helper.patch(f"users/{given}", json={}), 422, "validation_error", "Validation error", errors=errors)


def test_users_are_listed_for_staff_alone(alice: Person) -> None:
    assert_denied(alice.get("users"), STAFF_ONLY)
    assert_denied(alice.get("users", params={"limit": "x"}), STAFF_ONLY)


def test_the_list_of_users_has_pages(helper: Person, crowd: list[int]) -> None:
    # Other tests add and delete users, but no new user has a smaller id.
    before = User.objects.filter(pk__lt=crowd[0]).count()
    page = helper.get("users", params={"limit": 100, "skip": max(0, before - 50)}).json()
    assert set(page) == {"users", "has_more"}
    ids = [user["id"] for user in page["users"]]
    assert ids == sorted(ids)
    assert set(crowd) & set(ids)
    [own] = [user for user in page["users"] if user["id"] == crowd[0]]
    assert own == helper.get(f"users/{crowd[0]}").json()
    one = helper.get("users", params={"limit": 1}).json()
    assert (len(one["users"]), one["has_more"]) == (1, True)
    none = helper.get("users", params={"skip": 1_000_000}).json()
    assert none == {"users": [], "has_more": False}


def test_the_last_page_has_no_more(helper: Person, eventually: Callable[..., Any]) -> None:
    def last_page() -> bool:
        # Leaves room for some users that other tests add meanwhile. They may add more, or delete some.
        page = helper.get("users", params={"limit": 100, "skip": max(0, User.objects.count() - 10)}).json()
        return bool(page["users"]) and page["has_more"] is False

    eventually(last_page)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"skip": -1}, {"skip": 10**7}])
def test_other_pages_are_422(helper: Person, query: dict[str, Any]) -> None:
    answer = helper.get("users", params=query)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [f"query.{next(iter(query))}"]


def test_who_is_shut_out_is_out_at_once_and_may_come_back(anonymous: Api, alice: Person, helper: Person) -> None:
    before = alice.get("users/me").json()
    answer = helper.patch(f"users/{alice.id}", json={"is_active": False})
    assert answer.status_code == 200
    assert answer.json() == {**before, "is_active": False, "updated_at": answer.json()["updated_at"]}
    assert status_with(anonymous, alice.tokens) == (401, "token_revoked")
    assert log_in(anonymous, alice.email, alice.password).status_code == 401
    assert helper.patch(f"users/{alice.id}", json={"is_active": False}).status_code == 200
    assert helper.patch(f"users/{alice.id}", json={"is_active": True}).json()["is_active"] is True
    assert status_with(anonymous, alice.tokens) == (401, "token_revoked"), "the old session stays ended"
    assert log_in(anonymous, alice.email, alice.password).status_code == 200
    events = AuditEvent.objects.filter(user_id=alice.id, event__in=["activated", "deactivated"]).order_by("id")
    assert list(events.values_list("event", "actor_id")) == [("deactivated", helper.id), ("activated", helper.id)]


def test_who_is_shut_out_in_the_admin_does_not_come_back_with_the_old_session(
    anonymous: Api, alice: Person, web_url: str
) -> None:
    with superuser(web_url) as browser:
        for active in (None, "on"):
            assert browser.submit(f"accounts/user/{alice.id}/change/", is_active=active).status_code == 302
    assert User.objects.get(pk=alice.id).is_active
    assert status_with(anonymous, alice.tokens) == (401, "token_revoked")
    events = AuditEvent.objects.filter(user_id=alice.id, event__in=["activated", "deactivated"]).order_by("id")
    assert list(events.values_list("event", "actor_id")) == [
        ("deactivated", browser.user.pk),
        ("activated", browser.user.pk),
    ]


def test_superusers_change_roles(alice: Person, root: Person) -> None:
    for role, is_staff in (("admin", True), ("admin", True), ("user", False)):
        answer = root.patch(f"users/{alice.id}", json={"role": role})
        assert (answer.status_code, answer.json()["role"]) == (200, role)
        assert User.objects.get(pk=alice.id).is_staff is is_staff
    events = AuditEvent.objects.filter(user_id=alice.id, event="role_changed").order_by("id")
    rights = [{"role": role, "superuser": False} for role in ("user", "admin", "user")]
    assert list(events.values_list("actor_id", "details")) == [
        (root.id, {**after, "before": before, "after": after}) for before, after in itertools.pairwise(rights)
    ]


def test_a_superuser_who_becomes_a_user_is_none_any_more(root: Person) -> None:
    other = make_user("other", is_staff=True, is_superuser=True)
    assert root.patch(f"users/{other.pk}", json={"role": "admin"}).status_code == 200
    other.refresh_from_db()
    assert (other.is_staff, other.is_superuser) == (True, True), "the role was that already"
    assert root.patch(f"users/{other.pk}", json={"role": "user"}).json()["role"] == "user"
    other.refresh_from_db()
    assert (other.is_staff, other.is_superuser) == (False, False)


def test_who_may_not_changes_nothing(alice: Person, bob: Person, helper: Person, root: Person) -> None:
    refused = [
        (alice, alice.id, {"role": "admin"}, STAFF_ONLY),
        (helper, bob.id, {"role": "admin"}, ROLES),
        (helper, bob.id, {"role": "admin", "is_active": False}, ROLES),
        (helper, helper.id, {"role": "user"}, ROLES),
        (helper, helper.id, {"is_active": False}, ONESELF),
        (helper, root.id, {"is_active": False}, OTHER_STAFF),
        (root, root.id, {"role": "user"}, ONESELF),
        (root, root.id, {"role": "admin"}, ONESELF),
    ]
    for actor, number, body, detail in refused:
        assert_denied(actor.patch(f"users/{number}", json=body), detail)
    assert [person.get("users/me").json()["role"] for person in (alice, bob, helper, root)] == ["user"] * 2 + [
        "admin"
    ] * 2
    assert not AuditEvent.objects.filter(actor_id__in=[alice.id, helper.id, root.id], event="role_changed").exists()


def test_an_absent_user_can_not_be_changed(helper: Person) -> None:
    assert_error(helper.patch(f"users/{2**62}", json={"is_active": False}), 404, "not_found", "Not found")


@pytest.mark.parametrize("body", [{}, {"is_active": None, "role": None}, {"email": "x@example.com", "id": 1}])
def test_an_empty_change_changes_nothing(alice: Person, helper: Person, body: dict[str, Any]) -> None:
    before = alice.get("users/me").json()
    answer = helper.patch(f"users/{alice.id}", json=body)
    assert (answer.status_code, answer.json()) == (200, before)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "superuser"}, "body.role"),
        ({"role": ["user"]}, "body.role"),
        ({"is_active": "perhaps"}, "body.is_active"),
    ],
)
def test_another_change_is_422(alice: Person, root: Person, body: dict[str, Any], field: str) -> None:
    answer = root.patch(f"users/{alice.id}", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
