"""Permissions in organizations: each role with each action, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Membership, User
from accounts.permissions import ALLOWED, Action, Role, is_allowed
from accounts.tests.organizations import join, new_organization
from accounts.tests.staff import make_user
from conftest import Person, assert_error

EVERYBODY = ("owner", "admin", "member", "stranger", "superuser")
IN_IT = {"owner", "admin", "member", "superuser"}
MANAGERS = {"owner", "admin", "superuser"}
OWNERS = {"owner", "superuser"}
NEW = "new@example.com"

# Each call: method, path and body; the status for allowed users; the allowed users. {self} is the requesting user,
# {member}, {admin} and {owner} are other members of the organization, {invited member} and {invited owner} are
# invitations to it.
CALLS: dict[str, tuple[str, str, dict[str, Any] | None, int, set[str]]] = {
    "read it": ("GET", "", None, 200, IN_IT),
    "read its members": ("GET", "/members", None, 200, IN_IT),
    "rename it": ("PATCH", "", {"name": "Writers"}, 200, MANAGERS),
    "delete it": ("DELETE", "", None, 204, OWNERS),
    "add a member": ("POST", "/members", {"email": NEW, "role": "member"}, 201, MANAGERS),
    "add an admin": ("POST", "/members", {"email": NEW, "role": "admin"}, 201, MANAGERS),
    "add an owner": ("POST", "/members", {"email": NEW, "role": "owner"}, 201, OWNERS),
    "make a member an admin": ("PATCH", "/members/{member}", {"role": "admin"}, 200, MANAGERS),
    "make an admin a member": ("PATCH", "/members/{admin}", {"role": "member"}, 200, MANAGERS),
    "make a member an owner": ("PATCH", "/members/{member}", {"role": "owner"}, 200, OWNERS),
    "make an admin an owner": ("PATCH", "/members/{admin}", {"role": "owner"}, 200, OWNERS),
    "make an owner an admin": ("PATCH", "/members/{owner}", {"role": "admin"}, 200, OWNERS),
    "make an owner a member": ("PATCH", "/members/{owner}", {"role": "member"}, 200, OWNERS),
    "make an owner an owner": ("PATCH", "/members/{owner}", {"role": "owner"}, 200, OWNERS),
    "make oneself a member": ("PATCH", "/members/{self}", {"role": "member"}, 200, {"owner", "admin"}),
    "make oneself an admin": ("PATCH", "/members/{self}", {"role": "admin"}, 200, {"owner", "admin"}),
    "make oneself an owner": ("PATCH", "/members/{self}", {"role": "owner"}, 200, {"owner"}),
    "remove a member": ("DELETE", "/members/{member}", None, 204, MANAGERS),
    "remove an admin": ("DELETE", "/members/{admin}", None, 204, MANAGERS),
    "remove an owner": ("DELETE", "/members/{owner}", None, 204, OWNERS),
    "leave it": ("DELETE", "/members/{self}", None, 204, {"owner", "admin", "member"}),
    "take back a member's invitation": ("DELETE", "/invitations/{invited member}", None, 204, MANAGERS),
    "take back an owner's invitation": ("DELETE", "/invitations/{invited owner}", None, 204, OWNERS),
}


def test_the_table_says_who_may_do_each_action() -> None:
    people = {name: {"role": name if name in Role.values else None, "is_superuser": False} for name in EVERYBODY}
    people["superuser"]["is_superuser"] = True
    allowed = {
        action: {name for name, person in people.items() if is_allowed(action, **person)}  # type: ignore[arg-type]
        for action in Action
    }
    assert allowed == {
        Action.READ: IN_IT,
        Action.READ_USAGE: MANAGERS,
        Action.LEAVE: IN_IT,
        Action.RENAME: MANAGERS,
        Action.DELETE: OWNERS,
        Action.MANAGE_MEMBERS: MANAGERS,
        Action.MANAGE_OWNERS: OWNERS,
    }
    assert set(ALLOWED) == set(Action)


@pytest.fixture(scope="module")
def others() -> dict[str, Any]:
    return {role: make_user(role) for role in ("owner", "owner_2", "admin", "member")}


@pytest.mark.parametrize("call", CALLS)
def test_who_may(alice: Person, others: dict[str, Any], call: str) -> None:
    method, path, body, status, allowed = CALLS[call]
    for who in EVERYBODY:
        organization = new_organization(**others)
        invited = {
            f"invited {role}": Membership.objects.create(
                organization=organization, invited_email=f"{role}@example.com", role=role
            ).pk
            for role in ("member", "owner")
        }
        User.objects.filter(pk=alice.id).update(is_superuser=who == "superuser")
        if who in Role.values:
            join(organization, alice, who)
        before = _rows(organization.pk)
        ids = {role: user.pk for role, user in others.items()}
        filled = path.format(self=alice.id, **ids, **invited)
        answer = alice.request(method, f"organizations/{organization.pk}{filled}", json=body)
        if who in allowed:
            assert answer.status_code == status, (who, answer.text)
            continue
        if who == "stranger":
            assert_error(answer, 404, "not_found", "Organization not found")
        elif who == "superuser":  # the superuser is not a member
            assert_error(answer, 404, "not_found", "Member not found")
        else:
            assert_error(answer, 403, "permission_denied", "You do not have permission to do this")
        assert _rows(organization.pk) == before, who


def _rows(organization_id: int) -> list[Any]:
    columns = ("organization__name", "pk", "user_id", "invited_email", "role")
    return list(Membership.objects.filter(organization_id=organization_id).values_list(*columns))
