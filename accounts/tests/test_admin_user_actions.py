"""Actions of staff on users, by a button or from the list: /admin/accounts/user/."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import AuditEvent, Session, User
from accounts.tests.staff import Staff, helper, make_user, superuser
from conftest import Person
from usage.models import Budget

LIST = "accounts/user/"
# The permissions that each action requires of staff who are not superusers, besides viewing users.
NEEDED = {
    "end_sessions": ("change_session",),
    "deactivate": ("change_user",),
    "export": ("export_user",),
    "set_budget": ("add_budget", "change_budget", "delete_budget"),
}
BUDGET = {"period": "month", "budget": "tokens", "tokens": "5000"}


def _page(name: str, user_id: int) -> str:
    return f"{LIST}{user_id}/{name.replace('_', '-')}/"


def _events(user_id: int, event: str) -> list[tuple[Any, ...]]:
    rows = AuditEvent.objects.filter(user_id=user_id, event=event).order_by("id")
    return list(rows.values_list("actor_id", "details"))


def _untouched(user_id: int) -> bool:
    user = User.objects.get(pk=user_id)
    ended = Session.objects.filter(user=user, ended_at__isnull=False)
    new = AuditEvent.objects.filter(user_id=user_id).exclude(event__in=["registered", "login"])
    return user.is_active and not ended.exists() and not new.exists() and not Budget.objects.filter(user=user).exists()


def _answer(staff: Staff, name: str, user_id: int, **fields: Any) -> Any:
    """Send the form of the confirmation page."""
    staff.get("")  # for the CSRF cookie
    return staff.post_form(_page(name, user_id), {"confirmed": "yes", **fields})


@pytest.mark.parametrize("name", NEEDED)
def test_a_link_only_asks(web_url: str, alice: Person, name: str) -> None:
    with superuser(web_url) as root:
        page = root.get(f"{LIST}{alice.id}/change/").text
        assert f'href="/admin/{_page(name, alice.id)}"' in page
        question = root.get(_page(name, alice.id))
        assert question.status_code == 200
        assert alice.email in question.text
        assert root.get(_page(name, alice.id), params={"confirmed": "yes", **BUDGET}).status_code == 200
        assert root.post(_page(name, alice.id), data={"confirmed": "yes", **BUDGET}).status_code == 403  # no CSRF token
    assert _untouched(alice.id)
    assert alice.get("auth/me").status_code == 200


def test_ending_the_sessions_of_a_user(web_url: str, alice: Person, bob: Person) -> None:
    alice.post("auth/login", json={"email": alice.email, "password": alice.password})
    with superuser(web_url) as root:
        answer = root.submit(_page("end_sessions", alice.id))
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/{LIST}{alice.id}/change/")
        assert root.submit(_page("end_sessions", alice.id)).status_code == 302  # ended already
        assert _events(alice.id, "session_ended") == [(root.user.pk, {"sessions": 2})]
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    assert bob.get("auth/me").status_code == 200


def test_deactivating_a_user(web_url: str, alice: Person) -> None:
    with superuser(web_url) as root:
        assert root.submit(_page("deactivate", alice.id)).status_code == 302
        assert _events(alice.id, "deactivated") == [
            (root.user.pk, {"before": {"is_active": True}, "after": {"is_active": False}})
        ]
        assert f'href="/admin/{_page("deactivate", alice.id)}"' not in root.get(f"{LIST}{alice.id}/change/").text
        assert root.submit(_page("deactivate", alice.id)).status_code == 302  # already deactivated
        assert len(_events(alice.id, "deactivated")) == 1
    assert not User.objects.get(pk=alice.id).is_active
    assert alice.get("auth/me").status_code == 401


@pytest.mark.parametrize("name", ["end_sessions", "deactivate", "set_budget"])
def test_chosen_users_are_acted_on_after_a_question(web_url: str, alice: Person, bob: Person, name: str) -> None:
    with superuser(web_url) as root:
        question = root.act(LIST, name, alice.id, bob.id)
        assert question.status_code == 200
        assert alice.email in question.text
        assert bob.email in question.text
        assert _untouched(alice.id)
        assert _untouched(bob.id)
        fields = BUDGET if name == "set_budget" else {}
        answer = root.act(LIST, name, alice.id, bob.id, confirmed="yes", **fields)
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/{LIST}")
    for person in (alice, bob):
        assert not _untouched(person.id)


def test_chosen_users_are_left_alone_if_one_of_them_may_not_be_touched(web_url: str, alice: Person) -> None:
    with superuser(web_url) as root:
        answer = root.act(LIST, "deactivate", alice.id, root.user.pk, confirmed="yes")
        assert answer.status_code == 302
        assert f"Deactivate: you may not do this to {root.user.email}" in html.unescape(root.get(LIST).text)
    assert _untouched(alice.id)
    assert User.objects.get(pk=root.user.pk).is_active


def test_an_export_by_staff_is_the_users_own_and_audited(web_url: str, alice: Person) -> None:
    alice.say(alice.new_conversation(title="For the export"), "what I said")
    # A time to come, so that no request changes it between the two exports.
    Session.objects.filter(user_id=alice.id).update(last_used_at=timezone.now() + timedelta(hours=1))
    with superuser(web_url) as root:
        answer = root.submit(_page("export", alice.id))
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="edgechat-{alice.id}.ndjson"'
        assert _events(alice.id, "data_exported") == [(root.user.pk, {})]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert (lines[0]["type"], lines[0]["email"]) == ("account", alice.email)
    assert "what I said" in answer.text
    own = [json.loads(line) for line in alice.get("users/me/export").text.splitlines()]
    kinds = ("conversation", "message", "session")
    assert [line for line in lines if line.get("type") in kinds] == [line for line in own if line.get("type") in kinds]


def test_setting_budgets(web_url: str, alice: Person) -> None:
    def budgets() -> list[tuple[str, int | None]]:
        return list(Budget.objects.filter(user_id=alice.id).order_by("id").values_list("period", "token_limit"))

    with superuser(web_url) as root:
        page = _page("set_budget", alice.id)
        assert root.submit(page, **BUDGET).status_code == 302
        assert budgets() == [("month", 5000)]
        assert "5,000" in root.get(f"{LIST}{alice.id}/change/").text
        assert root.submit(page, period="day", budget="tokens", tokens="0").status_code == 302
        assert root.submit(page, period="month", budget="unlimited").status_code == 302
        assert budgets() == [("month", None), ("day", 0)]
        for budget in ("month", "day"):
            assert root.submit(page, period=budget, budget="default").status_code == 302
        assert budgets() == []
        assert _events(alice.id, "budget_set") == [
            (
                root.user.pk,
                {"period": period, "limit": after, "before": {"limit": before}, "after": {"limit": after}},
            )
            for period, before, after in [
                ("month", "default", 5000),
                ("day", "default", 0),
                ("month", 5000, None),
                ("month", None, "default"),
                ("day", 0, "default"),
            ]
        ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": ""}, "Write how many tokens"),
        ({"tokens": "-1"}, "greater than or equal to 0"),
        ({"tokens": str(2**63)}, "less than or equal to"),
        ({"tokens": "many"}, "Enter a whole number"),
        ({"budget": "unlimited"}, "leave them empty"),
        ({"period": "year"}, "Select a valid choice"),
    ],
)
def test_a_budget_that_says_two_things_or_none_is_not_set(
    web_url: str, alice: Person, fields: dict[str, str], message: str
) -> None:
    with superuser(web_url) as root:
        answer = root.submit(_page("set_budget", alice.id), **{**BUDGET, **fields})
        assert answer.status_code == 200
        assert message in html.unescape(answer.text)
    assert _untouched(alice.id)


@pytest.mark.parametrize("name", NEEDED)
def test_each_action_needs_its_own_permissions(web_url: str, alice: Person, name: str) -> None:
    others = {permission for action, needed in NEEDED.items() if action != name for permission in needed}
    with helper(web_url, "view_user", *others) as staff:
        assert f'href="/admin/{_page(name, alice.id)}"' not in staff.get(f"{LIST}{alice.id}/change/").text
        assert f'<option value="{name}">' not in staff.get(LIST).text
        assert staff.get(_page(name, alice.id)).status_code == 403
        assert _answer(staff, name, alice.id, **BUDGET).status_code == 403
        staff.act(LIST, name, alice.id, confirmed="yes", **BUDGET)
        assert _untouched(alice.id)
        staff.user.user_permissions.set(Permission.objects.filter(codename__in=("view_user", *NEEDED[name])))
        assert f'href="/admin/{_page(name, alice.id)}"' in staff.get(f"{LIST}{alice.id}/change/").text
        assert _answer(staff, name, alice.id, **BUDGET).status_code in (200, 302)
    assert not _untouched(alice.id)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_staff": True, "is_superuser": True}])
def test_staff_without_superusers_rights_act_on_no_other_staff(web_url: str, name: str, rights: dict[str, Any]) -> None:
    boss = make_user("boss", **rights)
    everything = [permission for needed in NEEDED.values() for permission in needed]
    with helper(web_url, "view_user", *everything) as staff:
        assert f'href="/admin/{_page(name, boss.pk)}"' not in staff.get(f"{LIST}{boss.pk}/change/").text
        assert staff.get(_page(name, boss.pk)).status_code == 403
        assert _answer(staff, name, boss.pk, **BUDGET).status_code == 403
        if name != "export":
            assert staff.act(LIST, name, boss.pk, confirmed="yes", **BUDGET).status_code == 302
    assert _untouched(boss.pk)


@pytest.mark.parametrize("name", ["deactivate", "set_budget"])
def test_staff_do_not_shut_themselves_out_or_set_their_own_budget(web_url: str, name: str) -> None:
    with helper(web_url, "view_user", *NEEDED[name]) as staff:
        assert _answer(staff, name, staff.user.pk, **BUDGET).status_code == 403
        assert _untouched(staff.user.pk)


def test_who_may_not_see_users_does_nothing_to_them(web_url: str, alice: Person) -> None:
    with helper(web_url, "change_session", "export_user", *NEEDED["set_budget"]) as staff:
        for name in ("end_sessions", "export", "set_budget"):
            assert staff.get(_page(name, alice.id)).status_code == 403
            assert _answer(staff, name, alice.id, **BUDGET).status_code == 403
    assert _untouched(alice.id)


def test_nothing_is_done_to_a_user_who_is_not_there(web_url: str) -> None:
    with superuser(web_url) as root:
        for user_id in ("999999999999", "nobody", "%00"):
            for name in NEEDED:
                assert root.get(f"{LIST}{user_id}/{name.replace('_', '-')}/").status_code == 404
