"""manage.py set_role."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent
from accounts.tests.logins import new_email
from accounts.tests.staff import make_user


def set_role(*arguments: str) -> str:
    out = io.StringIO()
    call_command("set_role", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("role", "rights"), [("admin", (True, False)), ("superuser", (True, True)), ("user", (False, False))]
)
def test_a_role_is_given(role: str, rights: tuple[bool, bool]) -> None:
    user = make_user(is_staff=role == "user", is_superuser=role != "superuser")
    assert set_role(user.email.upper(), role) == f"{user.email} has the role {role} now.\n"
    assert set_role(user.email, role) == f"{user.email} has the role {role} already.\n"
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser) == rights
    event = AuditEvent.objects.get(user_id=user.pk)
    assert (event.event, event.actor_id) == ("role_changed", None)
    assert event.details["after"] == {"role": user.role, "superuser": rights[1]}
    assert event.details["before"] == {"role": "admin" if role == "user" else "user", "superuser": role != "superuser"}


def test_an_unknown_e_mail_is_a_fault() -> None:
    email = new_email()
    with pytest.raises(CommandError, match=f"There is no user {email}."):
        set_role(email, "admin")


def test_another_role_is_a_fault() -> None:
    with pytest.raises(CommandError, match="invalid choice: 'owner'"):
        set_role(make_user().email, "owner")


def test_an_admin_is_added_to_a_group() -> None:
    user = make_user(is_staff=False, is_superuser=False)
    assert set_role(user.email, "admin", "--group", "support") == (
        f"{user.email} has the role admin now.\n{user.email} is in the group Support now.\n"
    )
    assert set_role(user.email, "admin", "--group", "SUPPORT") == (
        f"{user.email} has the role admin already.\n{user.email} is in the group Support already.\n"
    )
    [group] = user.groups.all()
    event = AuditEvent.objects.get(user_id=user.pk, event="staff_change")
    assert (event.details["before"], event.details["after"]) == ({"groups": []}, {"groups": [group.pk]})


@pytest.mark.parametrize(
    ("role", "group", "fault"),
    [
        ("admin", "cooks", "There is no group cooks. The groups are: .*Auditor, .*Finance, .*Support"),
        ("user", "support", "Only admins need a group"),
        ("superuser", "support", "Only admins need a group"),
    ],
)
def test_a_group_that_cannot_be_given_is_a_fault(role: str, group: str, fault: str) -> None:
    user = make_user(is_staff=False, is_superuser=False)
    with pytest.raises(CommandError, match=fault):
        set_role(user.email, role, "--group", group)
    user.refresh_from_db()
    assert (user.is_staff, user.groups.count()) == (False, 0)
