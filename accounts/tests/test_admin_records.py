"""Sessions, audit events, organizations: /admin/accounts/."""

import html
import re

import pytest
from django.urls import reverse

from accounts.audit import record_event
from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.tests.staff import helper, make_user, superuser
from conftest import Person

ENDED = AuditEvent.Event.SESSION_ENDED


def test_chosen_sessions_are_ended_with_an_audit_event_each(web_url: str, alice: Person, bob: Person) -> None:
    session = Session.objects.get(user_id=alice.id)
    other = Session.objects.get(user_id=bob.id)
    with superuser(web_url) as root:
        assert root.act("accounts/session/", "end_sessions", session.pk).status_code == 302
        assert root.act("accounts/session/", "end_sessions", session.pk).status_code == 302  # ended already
        events = AuditEvent.objects.filter(event=ENDED, user_id=alice.id).values_list("actor_id", "details")
        assert list(events) == [(root.user.pk, {"session": str(session.pk)})]
    session.refresh_from_db()
    assert session.end_reason == "ended_by_staff"
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    other.refresh_from_db()
    assert other.ended_at is None
    assert bob.get("auth/me").status_code == 200


def test_who_may_only_see_sessions_cannot_end_them(web_url: str, alice: Person) -> None:
    session = Session.objects.get(user_id=alice.id)
    with helper(web_url, "view_session") as staff:
        assert alice.email in staff.get("accounts/session/", params={"q": alice.email}).text
        staff.act("accounts/session/", "end_sessions", session.pk)
    assert alice.get("auth/me").status_code == 200


def test_the_sessions_of_staff_are_ended_by_superusers_alone(web_url: str, alice: Person) -> None:
    User.objects.filter(pk=alice.id).update(is_staff=True)
    session = Session.objects.get(user_id=alice.id)
    with helper(web_url, "view_session", "change_session") as staff:
        staff.act("accounts/session/", "end_sessions", session.pk)
    assert alice.get("auth/me").status_code == 200
    with superuser(web_url) as root:
        root.act("accounts/session/", "end_sessions", session.pk)
    assert alice.get("auth/me").status_code == 401


def test_sessions_are_found_by_email_and_state(web_url: str, alice: Person, bob: Person) -> None:
    with superuser(web_url) as root:
        page = root.get("accounts/session/", params={"q": alice.email, "state": "live"}).text
        assert alice.email in page
        assert bob.email not in page
        for state in ("ended", "expired"):
            assert "0 sessions" in _text(root.get("accounts/session/", params={"q": alice.email, "state": state}).text)


@pytest.mark.parametrize("model", ["session", "auditevent"])
def test_nobody_adds_changes_or_deletes_records(web_url: str, alice: Person, model: str) -> None:
    key = {
        "session": Session.objects.get(user_id=alice.id).pk,
        "auditevent": AuditEvent.objects.filter(user_id=alice.id).latest("id").pk,
    }[model]
    with superuser(web_url) as root:
        assert root.get(f"accounts/{model}/{key}/change/").status_code == 200
        assert root.get(f"accounts/{model}/add/").status_code == 403
        assert root.post_form(f"accounts/{model}/add/", {}).status_code == 403
        assert (
            root.post_form(f"accounts/{model}/{key}/change/", {"end_reason": "", "event": "login"}).status_code == 403
        )
        assert root.post_form(f"accounts/{model}/{key}/delete/", {"post": "yes"}).status_code == 403
        root.act(f"accounts/{model}/", "delete_selected", key, post="yes")
        assert root.get(f"accounts/{model}/{key}/change/").status_code == 200


def test_audit_events_are_found_by_user_and_by_request(web_url: str, alice: Person, bob: Person) -> None:
    event = AuditEvent.objects.get(user_id=alice.id, event="registered")
    with superuser(web_url) as root:
        for term in (alice.email, str(alice.id), event.request_id):
            page = root.get("accounts/auditevent/", params={"q": term}).text
            assert alice.email in page
            assert bob.email not in page
        record_event(AuditEvent.Event.ACCOUNT_DELETED, user_id=10**15, actor_id=root.user.pk)
        page = root.get("accounts/auditevent/", params={"q": str(10**15)}).text
        assert f"deleted user {10**15}" in page


def test_memberships_are_kept_with_their_organization(web_url: str) -> None:
    member = make_user("member")
    with superuser(web_url) as root:
        answer = root.submit("accounts/organization/add/", name="The Analytical Society")
        assert answer.status_code == 302
        organization = Organization.objects.get(name="The Analytical Society", memberships=None)
        path = reverse("admin:accounts_organization_change", args=[organization.pk]).removeprefix("/admin/")
        empty = {"memberships-TOTAL_FORMS": "1", "memberships-0-role": "owner", "memberships-0-invited_email": ""}
        answer = root.submit(path, **empty, **{"memberships-0-user": ""})
        assert answer.status_code == 200
        assert "Choose a user, or write the e-mail" in html.unescape(answer.text)
        answer = root.submit(path, **empty, **{"memberships-0-user": str(member.pk)})
        assert answer.status_code == 302
        members = Membership.objects.filter(organization=organization).values_list("user", "role", "invited_email")
        assert list(members) == [(member.pk, "owner", "")]
        twice = {
            "memberships-TOTAL_FORMS": "2",
            "memberships-1-user": str(member.pk),
            "memberships-1-invited_email": "",
            "memberships-1-role": "member",
            "memberships-1-organization": str(organization.pk),
        }
        assert root.submit(path, **twice).status_code == 200
    organization.delete()


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())
