"""/admin/usage/requestrecord/find/, and what the lists of requests and calls find."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditEvent, Membership, Organization
from accounts.tests.staff import helper, make_user, superuser
from conftest import Person
from usage.models import Budget, LedgerEntry, OrganizationUsage, RequestRecord, Spending
from usage.tests.sums import settled

FIND = "usage/requestrecord/find/"


def test_an_errors_request_id_finds_the_request_the_call_and_the_events(
    web_url: str, alice: Person, eventually: Callable[..., Any]
) -> None:
    failed = alice.post("ai/complete", json={"prompt": "[[status=503]]"})
    assert failed.status_code == 503
    request_id = failed.json()["request_id"]
    AuditEvent.objects.create(event="login", user_id=alice.id, request_id=request_id)
    eventually(lambda: RequestRecord.objects.filter(request_id=request_id).exists())
    with superuser(web_url) as root:
        page = root.get(FIND, params={"q": request_id}).text
        assert [title for title in ("Requests", "Ledger entries", "Audit events") if title not in page] == []
        assert "POST /api/v1/ai/complete" in page
        assert page.count(alice.email) == 3
        for path in ("usage/requestrecord/", "usage/ledgerentry/", "accounts/auditevent/"):
            shown = root.get(path, params={"q": request_id}).text
            assert alice.email in shown
            assert request_id in shown
        assert "Nothing found" in root.get(FIND, params={"q": str(uuid.uuid4())}).text
        assert "Nothing found" in root.get(FIND, params={"q": "a\x00b"}).text
    with helper(web_url, "view_ledgerentry") as staff:
        page = staff.get(FIND, params={"q": request_id}).text
        assert "Ledger entries" in page
        assert "Requests" not in page
        assert "Audit events" not in page
    with helper(web_url, "view_todo") as staff:
        assert staff.get(FIND).status_code == 403


def test_a_title_has_the_request_id_of_its_send_and_none_after_the_account_is_gone(
    alice: Person, eventually: Callable[..., Any]
) -> None:
    request_id = f"chosen-{uuid.uuid4().hex}"
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    sent = alice.post(path, json={"content": "What is a lighthouse?"}, headers={"X-Request-ID": request_id})
    assert sent.status_code == 200
    calls = LedgerEntry.objects.filter(request_id=request_id, user_id=alice.id)
    eventually(lambda: set(calls.values_list("purpose", flat=True)) == {"chat", "title"})
    eventually(lambda: not calls.filter(settled_at=None).exists())
    assert alice.delete("users/me").status_code == 204
    eventually(lambda: not LedgerEntry.objects.filter(request_id=request_id).exists())


def test_users_and_organizations_are_found_by_a_part_of_their_name(web_url: str) -> None:
    part = uuid.uuid4().hex
    user = make_user(email=f"x-{part}@example.com")
    organization = Organization.objects.create(name=f"The {part} company")
    with superuser(web_url) as root:
        page = root.get(FIND, params={"q": part[3:].upper()}).text
        assert f"/admin/accounts/user/{user.pk}/change/" in page
        assert f"/admin/accounts/organization/{organization.pk}/change/" in page


def test_rows_of_organizations_are_found_by_a_part_of_the_name(web_url: str) -> None:
    part, now = uuid.uuid4().hex, timezone.now()
    organization, other = (
        Organization.objects.create(name=f"The {part} firm"),
        Organization.objects.create(name=f"other {uuid.uuid4().hex}"),
    )
    user = make_user()
    for each in (organization, other):
        settled(now, cost=1, user=user, organization=each)
        OrganizationUsage.objects.create(organization=each, user=user, hour=now)
        Spending.objects.create(organization=each, month=now.date().replace(day=1), day=now.date())
        Budget.objects.create(organization=each, token_limit=5)
    with superuser(web_url) as root:
        for model in ("ledgerentry", "organizationusage", "spending", "budget"):
            page = root.get(f"usage/{model}/", params={"q": part[:20].upper()}).text
            assert organization.name in page, model
            assert other.name not in page, model


def test_the_ledger_is_filtered_by_the_model_that_answered(web_url: str) -> None:
    model, user, other = f"model-{uuid.uuid4().hex}", make_user("of-the-model"), make_user("of-another")
    settled(timezone.now(), cost=1, model="asked", answered_by=model, user=user)
    settled(timezone.now(), cost=1, model=model, answered_by="else", user=other)
    with superuser(web_url) as root:
        for query in ({"model": model}, {"q": model}):
            page = root.get("usage/ledgerentry/", params=query).text
            assert user.email in page
            assert other.email not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "5xx"}, {503}),
        ({"status": "4xx"}, {429, 404}),
        ({"status": "failed"}, {404, 429, 503}),
        ({"status": "429"}, {429}),
        ({"status": "nonsense"}, set()),
        ({"slower": "30000"}, {503}),
        ({"slower": "1000"}, {503, 429}),
        ({"slower": "1000", "status": "4xx"}, {429}),
        ({"slower": "x"}, set()),
    ],
)
def test_requests_are_filtered_by_status_and_duration(web_url: str, query: dict[str, str], found: set[int]) -> None:
    user, now = make_user(), timezone.now()
    for status, milliseconds in ((200, 999), (404, 1), (429, 1000), (503, 30_000)):
        RequestRecord.objects.create(
            user=user, at=now, method="GET", route=f"r{status}", status=status, milliseconds=milliseconds
        )
    with superuser(web_url) as root:
        page = root.get("usage/requestrecord/", params={"q": user.email, **query}).text
    assert {status for status in (200, 404, 429, 503) if f"r{status}<" in page.replace(" ", "")} == found


def test_events_name_their_organization_and_are_found_by_it(web_url: str) -> None:
    name = f"named {uuid.uuid4().hex}"
    organization, member = Organization.objects.create(name=name), make_user()
    Membership.objects.create(organization=organization, user=make_user(), role="owner")
    with superuser(web_url) as root:
        page = f"accounts/organization/{organization.pk}/change/"
        assert root.submit(page, name=f"re{name}").status_code == 302
        limited = root.submit("usage/budget/add/", user="", organization=organization.pk, token_limit="9")
        assert limited.status_code == 302
        new = {"memberships-TOTAL_FORMS": "2", "memberships-1-user": member.pk, "memberships-1-role": "member"}
        new |= {"memberships-1-invited_email": "", "memberships-1-organization": organization.pk}
        assert root.submit(page, **new).status_code == 302
        about = AuditEvent.objects.filter(organization_id=organization.pk).order_by("id")
        assert list(about.values_list("event", flat=True)) == ["staff_change", "budget_set", "membership_changed"]
        root.get("")  # shows the notice of the last change, which names it too
        shown = root.get("accounts/auditevent/", params={"q": name[:30]}).text
        assert shown.count(f"re{name}") == 3
        Organization.objects.filter(pk=organization.pk).delete()
        assert f"deleted organization {organization.pk}" in root.get(f"accounts/auditevent/{about[0].pk}/change/").text
