"""GET /usage/organizations/{id}."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Membership, Organization, User
from accounts.tests.organizations import join, new_organization
from accounts.tests.staff import make_user
from conftest import Api, Person, assert_error
from usage.ledger.services import set_budget
from usage.models import OrganizationUsage, Spending
from usage.reports import queries

NOTHING = {"input": 0, "output": 0, "total": 0, "last_24h": 0, "last_7d": 0}
NO_QUOTA = {"limit": None, "used": 0, "remaining": None, "resets_at": None}


def this_hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)


def use(organization: Organization, user_id: int | None, given: int, written: int, *, hours_ago: int = 400) -> None:
    OrganizationUsage.objects.create(
        organization=organization,
        user_id=user_id,
        hour=this_hour() - timedelta(hours=hours_ago),
        input_tokens=given,
        output_tokens=written,
    )


def long_ago(given: int, written: int) -> dict[str, int]:
    """The `tokens` of usage before the last seven days."""
    return {**NOTHING, "input": given, "output": written, "total": given + written}


def usage_of(person: Person, organization: Organization) -> dict[str, Any]:
    answer = person.get(f"usage/organizations/{organization.pk}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_members_come_in_their_order_also_with_nothing_used(alice: Person, bob: Person) -> None:
    organization, other = new_organization(owner=bob, admin=alice), new_organization(owner=alice)
    idle = make_user("idle")
    join(organization, idle)
    Membership.objects.create(organization=organization, invited_email="invited@example.com", role="member")
    use(organization, alice.id, 100, 20)
    use(organization, alice.id, 3, 4, hours_ago=401)
    use(other, alice.id, 5000, 5000)
    assert usage_of(alice, organization) == {
        "tokens": long_ago(103, 24),
        "quota": NO_QUOTA,
        "members": [
            {"user_id": bob.id, "email": bob.email, "tokens": NOTHING},
            {"user_id": alice.id, "email": alice.email, "tokens": long_ago(103, 24)},
            {"user_id": idle.pk, "email": idle.email, "tokens": NOTHING},
        ],
    }


def test_who_has_left_is_there_with_what_was_used_and_deleted_accounts_together(alice: Person) -> None:
    organization = new_organization(owner=alice)
    little, much, nothing, leaving = (make_user(name) for name in ("little", "much", "nothing", "leaving"))
    use(organization, little.pk, 1, 1)
    use(organization, much.pk, 10, 10)
    use(organization, nothing.pk, 0, 0)
    use(organization, None, 100, 100)
    # An account whose deletion waits for a store is already invisible to others.
    User.objects.filter(pk=leaving.pk).update(deletion_requested_at=timezone.now(), email=f"deleted-{leaving.pk}")
    use(organization, leaving.pk, 1000, 1000)
    body = usage_of(alice, organization)
    assert body["tokens"] == long_ago(1111, 1111)
    assert body["members"] == [
        {"user_id": alice.id, "email": alice.email, "tokens": NOTHING},
        {"user_id": much.pk, "email": None, "tokens": long_ago(10, 10)},
        {"user_id": little.pk, "email": None, "tokens": long_ago(1, 1)},
        {"user_id": None, "email": None, "tokens": long_ago(1100, 1100)},
    ]


def test_days_and_weeks_are_counted_in_hours(alice: Person) -> None:
    organization = new_organization(owner=alice)
    hour = this_hour()
    for number, age in enumerate((0, 24, 25, 168, 169)):
        use(organization, alice.id, 2 * 10**number, 10**number, hours_ago=age)
    body = usage_of(alice, organization)
    if this_hour() != hour:  # an hour has passed, and the oldest is gone
        assert (body["tokens"]["last_24h"], body["tokens"]["last_7d"]) == (3, 333)
        return
    tokens = {"input": 22222, "output": 11111, "total": 33333, "last_24h": 33, "last_7d": 3333}
    assert (body["tokens"], body["members"][0]["tokens"]) == (tokens, tokens)


def test_the_quota_is_the_organizations(alice: Person) -> None:
    organization = new_organization(owner=alice)
    set_budget(subject=organization, period="month", token_limit=1000)
    today = timezone.now().date()
    month = today.replace(day=1)
    Spending.objects.create(organization=organization, month=month, month_tokens=300, day=today, day_tokens=10)
    quota = usage_of(alice, organization)["quota"]
    following = (month + timedelta(days=31)).replace(day=1)
    assert quota == {"limit": 1000, "used": 300, "remaining": 700, "resets_at": f"{following}T00:00:00Z"}
    assert alice.get("usage/me").json()["quota"] == NO_QUOTA


def test_the_list_has_an_end_and_its_sums_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, member = make_user("owner"), make_user("member")
    organization = new_organization(owner=owner, member=member)
    left = [make_user(f"left-{number}") for number in range(4)]
    for number, user in enumerate(left):
        use(organization, user.pk, 10**number, 0)
    use(organization, None, 50_000, 0)
    monkeypatch.setattr(queries, "MAX_LISTED", 4)
    _, tokens, members = queries.organization_usage(user=owner, organization_id=organization.pk)
    assert [(each["user_id"], each["tokens"]["total"]) for each in members] == [
        (owner.pk, 0),
        (member.pk, 0),
        (left[3].pk, 1000),
        (left[2].pk, 100),
        (None, 50_011),
    ]
    assert tokens["total"] == 51_111


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_owners_and_admins_see_it(alice: Person, role: str) -> None:
    organization = new_organization()
    join(organization, alice, role)
    assert [each["user_id"] for each in usage_of(alice, organization)["members"]] == [alice.id]


def test_a_superuser_sees_any(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    User.objects.filter(pk=bob.id).update(is_superuser=True)
    assert [each["user_id"] for each in usage_of(bob, organization)["members"]] == [alice.id]


def test_members_may_not_and_to_strangers_it_does_not_exist(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=make_user("owner"), member=alice)
    refused = alice.get(f"usage/organizations/{organization.pk}")
    assert_error(refused, 403, "permission_denied", "You do not have permission to do this")
    User.objects.filter(pk=bob.id).update(is_staff=True)  # this gives no rights in organizations
    for person, number in ((bob, organization.pk), (alice, 2**62)):
        assert_error(person.get(f"usage/organizations/{number}"), 404, "not_found", "Organization not found")


@pytest.mark.parametrize("malformed", ["x", "0", "-1", "1.0", "9" * 30])
def test_a_malformed_id_is_422(alice: Person, malformed: str) -> None:
    errors = [{"field": "path.id", "message": "A valid integer is required."}]
    answer = alice.get(f"usage/organizations/{malformed}")
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


def test_it_needs_a_token(anonymous: Api, alice: Person) -> None:
    answer = anonymous.get(f"usage/organizations/{new_organization(owner=alice).pk}")
    assert_error(answer, 401, "not_authenticated", "Not authenticated")
