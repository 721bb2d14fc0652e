"""/admin/usage/."""

import html
import uuid

import pytest
from django.utils import timezone

from accounts.models import Organization
from accounts.tests.staff import helper, make_user, superuser
from usage.models import Budget, HourlyUsage, LedgerEntry, RequestRecord

RECORDS = ["hourlyusage", "requestrecord", "ledgerentry"]


def _record(model: str, user_id: int) -> int:
    now = timezone.now()
    match model:
        case "hourlyusage":
            return HourlyUsage.objects.create(user_id=user_id, hour=now).pk
        case "requestrecord":
            return RequestRecord.objects.create(
                user_id=user_id, at=now, method="GET", route="r", status=200, milliseconds=1
            ).pk
        case _:
            return LedgerEntry.objects.create(
                attempt_id=uuid.uuid4().hex, user_id=user_id, purpose="chat", model="m", abandoned_after=now
            ).pk


@pytest.mark.parametrize("model", RECORDS)
def test_records_are_found_by_user_and_nobody_changes_them(web_url: str, model: str) -> None:
    user, other = make_user(), make_user()
    key = _record(model, user.pk)
    _record(model, other.pk)
    with superuser(web_url) as root:
        for term in (user.email.upper(), str(user.pk)):
            page = root.get(f"usage/{model}/", params={"q": term}).text
            assert user.email in page
            assert other.email not in page
        assert root.get(f"usage/{model}/{key}/change/").status_code == 200
        assert root.get(f"usage/{model}/add/").status_code == 403
        assert root.post_form(f"usage/{model}/{key}/change/", {"requests": "7"}).status_code == 403
        assert root.post_form(f"usage/{model}/{key}/delete/", {"post": "yes"}).status_code == 403


def test_staff_without_the_right_see_nothing_of_the_ledger(web_url: str) -> None:
    with helper(web_url, "view_hourlyusage") as staff:
        assert staff.get("usage/hourlyusage/").status_code == 200
        assert staff.get("usage/ledgerentry/").status_code == 403


def test_a_budget_is_of_one_user_or_of_one_organization(web_url: str) -> None:
    user, organization = make_user(), Organization.objects.create(name="with a budget")
    with superuser(web_url) as root:
        path = "usage/budget/add/"
        for chosen in ({"user": "", "organization": ""}, {"user": user.pk, "organization": organization.pk}):
            answer = root.submit(path, token_limit="1000", **chosen)
            assert answer.status_code == 200
            assert "A budget is of one user or of one organization." in html.unescape(answer.text)
        assert root.submit(path, user=user.pk, organization="", token_limit="1000").status_code == 302
        assert root.submit(path, user=user.pk, organization="", token_limit="2000").status_code == 200
        assert root.submit(path, user="", organization=organization.pk, token_limit="3000").status_code == 302
    assert list(Budget.objects.filter(user=user).values_list("period", "token_limit")) == [("month", 1000)]
    assert list(Budget.objects.filter(organization=organization).values_list("token_limit", flat=True)) == [3000]


def test_users_can_be_chosen_by_a_part_of_their_email(web_url: str) -> None:
    user = make_user("Chosen")
    with superuser(web_url) as root:
        query = {"term": user.email[:15], "app_label": "usage", "model_name": "budget", "field_name": "user"}
        answer = root.get("autocomplete/", params=query)
        assert answer.json() == {"results": [{"id": str(user.pk), "text": user.email}], "pagination": {"more": False}}
