"""Usage and budgets on the pages of users and organizations, and the audit log of budgets."""

from __future__ import annotations

import re

from django.utils import timezone

from accounts.models import AuditEvent, Membership, Organization, User
from accounts.tests.staff import helper, make_user, superuser
from conftest import Person
from usage.models import Budget, HourlyUsage, OrganizationUsage, Spending


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def _spend(subject: User | Organization, month_tokens: int, day_tokens: int) -> None:
    today = timezone.now().date()
    Spending.objects.create(
        **{type(subject).__name__.lower(): subject},
        month=today.replace(day=1),
        month_tokens=month_tokens,
        day=today,
        day_tokens=day_tokens,
    )


def _budget_events(**which: object) -> list[tuple[int | None, dict[str, object]]]:
    rows = AuditEvent.objects.filter(event="budget_set", **which).order_by("id")
    return list(rows.values_list("actor_id", "details"))


def _set(period: str, before: object, after: object) -> dict[str, object]:
    return {"period": period, "limit": after, "before": {"limit": before}, "after": {"limit": after}}


def test_a_users_page_shows_what_they_used_and_what_is_left(web_url: str) -> None:
    user = make_user()
    HourlyUsage.objects.create(
        user=user,
        hour=timezone.now().replace(minute=0, second=0, microsecond=0),
        requests=1234,
        input_tokens=3000,
        output_tokens=500,
    )
    Budget.objects.create(user=user, period="day", token_limit=5000)
    _spend(user, 3500, 1700)
    path = f"accounts/user/{user.pk}/change/"
    with superuser(web_url) as root:
        text = _text(root.get(path).text)
        assert "Requests 1,234 1,234 1,234" in text
        assert "Tokens 3,500 3,500 3,500" in text
        assert "This month 3,500 no limit -" in text
        assert "Today 1,700 5,000 3,300" in text
    with helper(web_url, "view_user") as staff:
        text = _text(staff.get(path).text)
        assert "This month" not in text
        assert "1,234" not in text
    with helper(web_url, "view_user", "view_budget") as staff:
        text = _text(staff.get(path).text)
        assert "This month" in text
        assert "1,234" not in text


def test_an_organizations_page_shows_who_is_in_it_and_what_is_left(web_url: str) -> None:
    organization = Organization.objects.create(name="of two")
    member = make_user("member")
    Membership.objects.create(organization=organization, user=member, role="owner")
    Membership.objects.create(organization=organization, invited_email="invited@example.com")
    Budget.objects.create(organization=organization, period="month", token_limit=9000)
    _spend(organization, 8000, 0)
    with superuser(web_url) as root:
        page = root.get(f"accounts/organization/{organization.pk}/change/").text
    text = _text(page)
    assert "This month 8,000 9,000 1,000" in text
    assert member.email in text
    assert 'value="invited@example.com"' in page
    assert re.findall(r">\s*(active|invited)\s*<", page) == ["active", "invited"]


def test_an_organization_that_used_tokens_can_be_deleted_by_who_may(web_url: str) -> None:
    organization = Organization.objects.create(name="<b>spent</b>")
    others = [Organization.objects.create(name="another") for _ in range(2)]
    user, hour = make_user(), timezone.now().replace(minute=0, second=0, microsecond=0)
    for each in (organization, *others):
        OrganizationUsage.objects.create(organization=each, user=user, hour=hour, input_tokens=5)
        Budget.objects.create(organization=each, token_limit=10)
        _spend(each, 5, 5)
    path = f"accounts/organization/{organization.pk}/delete/"
    with helper(web_url, "view_organization", "change_organization", "delete_budget") as staff:
        assert staff.get(path).status_code == 403
        assert staff.post_form(path, {"post": "yes"}).status_code == 403
    with helper(web_url, "view_organization", "delete_organization") as staff:
        page = staff.get(path).text
        assert "&lt;b&gt;spent&lt;/b&gt;" in page
        assert "<b>spent</b>" not in page
        assert Organization.objects.filter(pk=organization.pk).exists()
        assert staff.submit(path).status_code == 302
        keys = [each.pk for each in others]
        assert staff.act("accounts/organization/", "delete_selected", *keys, post="yes").status_code == 302
    assert not Organization.objects.filter(pk__in=[organization.pk, *keys]).exists()
    assert User.objects.filter(pk=user.pk).exists()


def test_an_organizations_budgets_are_set_on_its_page_and_audited(web_url: str) -> None:
    organization = Organization.objects.create(name="with budgets")
    path = f"accounts/organization/{organization.pk}/change/"
    budgets = Budget.objects.filter(organization=organization)

    def row(**fields: object) -> dict[str, object]:
        return {f"budgets-0-{name}": value for name, value in fields.items()}

    with superuser(web_url) as root:
        new = {"budgets-TOTAL_FORMS": "1", **row(period="month", token_limit="700", organization=organization.pk)}
        assert root.submit(path, **new).status_code == 302
        assert list(budgets.values_list("period", "token_limit")) == [("month", 700)]
        assert root.submit(path, **row(token_limit="", period="day")).status_code == 302
        assert list(budgets.values_list("period", "token_limit")) == [("month", None)]
        assert root.submit(path).status_code == 302
        assert root.submit(path, **row(DELETE="on")).status_code == 302
        assert not budgets.exists()
        assert _budget_events(details__organization=organization.pk) == [
            (root.user.pk, {"organization": organization.pk, **_set("month", before, after)})
            for before, after in [("default", 700), (700, None), (None, "default")]
        ]


def test_every_change_of_a_budget_in_the_list_is_audited(web_url: str, alice: Person) -> None:
    with superuser(web_url) as root:
        assert root.submit("usage/budget/add/", user=alice.id, organization="", token_limit="1000").status_code == 302
        budget = Budget.objects.get(user_id=alice.id)
        assert root.submit(f"usage/budget/{budget.pk}/change/", token_limit="2000", period="day").status_code == 302
        budget.refresh_from_db()
        assert (budget.period, budget.token_limit) == ("month", 2000)
        assert root.act("usage/budget/", "delete_selected", budget.pk, post="yes").status_code == 302
        assert not Budget.objects.filter(user_id=alice.id).exists()
        assert _budget_events(user_id=alice.id) == [
            (root.user.pk, _set("month", before, after))
            for before, after in [("default", 1000), (1000, 2000), (2000, "default")]
        ]


def test_staff_without_superusers_rights_leave_budgets_of_staff_alone(web_url: str) -> None:
    boss, user = make_user("boss", is_staff=True), make_user()
    budget = Budget.objects.create(user=boss, period="month", token_limit=10)
    rights = ("view_user", "view_organization", "view_budget", "add_budget", "change_budget", "delete_budget")
    with helper(web_url, *rights) as staff:
        for pk in (boss.pk, staff.user.pk):
            answer = staff.submit("usage/budget/add/", user=pk, organization="", period="day", token_limit="5")
            assert answer.status_code == 403
        path = f"usage/budget/{budget.pk}"
        assert staff.post_form(f"{path}/change/", {"token_limit": "5"}).status_code == 403
        assert staff.post_form(f"{path}/delete/", {"post": "yes"}).status_code == 403
        staff.act("usage/budget/", "delete_selected", budget.pk, post="yes")
        assert list(Budget.objects.filter(user__in=[boss, staff.user]).values_list("token_limit", flat=True)) == [10]
        assert staff.submit("usage/budget/add/", user=user.pk, organization="", token_limit="5").status_code == 302
    assert Budget.objects.filter(user=user).exists()
