"""Staff cannot get into other users' accounts and organizations, and changes send notices to the old address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.tests.mails import mail_settings, mails_to
from accounts.tests.staff import Staff, helper, make_user, superuser
from conftest import Api, Person
from edgechat.tests.web_settings import TWO_PROCESSES

MEMBERSHIPS = ("view_organization", "change_organization", "view_membership", "add_membership", "change_membership")
PEOPLE = ("view_user", "add_user", "change_user")
OWN = "Nobody adds themselves to an organization"


def _page(organization: Organization) -> str:
    return f"accounts/organization/{organization.pk}/change/"


def _row(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {f"memberships-{number}-{name}": value for name, value in fields.items()}


def _add(staff: Staff, organization: Organization, **fields: Any) -> Any:
    new = {"user": "", "invited_email": "", "role": "member", "organization": organization.pk, **fields}
    return staff.submit(_page(organization), **{"memberships-TOTAL_FORMS": "1"}, **_row(**new))


def _events(user_id: int, event: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(user_id=user_id, event=event).order_by("id"))


@pytest.fixture(params=["helper", "superuser"])
def staff(request: pytest.FixtureRequest, web_url: str) -> Any:
    opened = superuser(web_url) if request.param == "superuser" else helper(web_url, *MEMBERSHIPS, *PEOPLE)
    with opened as browser:
        yield browser


def test_nobody_adds_themselves_to_an_organization(staff: Staff) -> None:
    organization, other = Organization.objects.create(name="of others"), make_user("other")
    for fields in (
        {"user": staff.user.pk},
        {"user": staff.user.pk, "role": "owner"},
        {"invited_email": staff.user.email.upper()},
        {"user": other.pk, "invited_email": staff.user.email},
    ):
        answer = _add(staff, organization, **fields)
        assert (answer.status_code, OWN in answer.text) == (200, True)
    assert not organization.memberships.exists()
    assert _add(staff, organization, user=other.pk).status_code == 302
    for fields in ({"user": staff.user.pk}, {"user": "", "invited_email": staff.user.email}):
        answer = staff.submit(_page(organization), **_row(**fields))
        assert (answer.status_code, OWN in answer.text) == (200, True)
    assert list(organization.memberships.values_list("user_id", "role")) == [(other.pk, "member")]


def test_staff_do_not_accept_their_own_invitation_by_an_address_that_they_get_later(
    staff: Staff, web_url: str, alice: Person
) -> None:
    organization, later = Organization.objects.create(name="of others"), f"later-{staff.user.email}"
    for number, address in enumerate((later, alice.email)):
        new = {"invited_email": address, "user": "", "role": "owner", "organization": organization.pk}
        total = {"memberships-TOTAL_FORMS": str(number + 1)}
        assert staff.submit(_page(organization), **total, **_row(number, **new)).status_code == 302
    assert staff.submit(f"accounts/user/{staff.user.pk}/change/", email=later).status_code == 302
    User.objects.filter(pk__in=(staff.user.pk, alice.id)).update(is_verified=True)
    with Api(web_url) as api:
        password = f"password of {staff.user.email.split('-')[0]}"
        login = api.post("auth/login", json={"email": later, "password": password}).json()
        with api.signed_in(login["access_token"]) as own:
            assert own.get("organizations/invitations").json() == {"invitations": []}
    assert len(alice.get("organizations/invitations").json()["invitations"]) == 1


def test_nobody_adds_themselves_with_a_new_organizations_form_or_in_a_popup(web_url: str) -> None:
    with superuser(web_url) as root:
        new = {"name": "my own", "memberships-TOTAL_FORMS": "1", **_row(user=root.user.pk, role="owner")}
        for path in ("accounts/organization/add/", "accounts/organization/add/?_popup=1"):
            assert OWN in root.submit(path, **new).text
    assert not Membership.objects.filter(user=root.user).exists()


def test_nobody_changes_their_own_role_in_an_organization(staff: Staff) -> None:
    organization = Organization.objects.create(name="with staff in it")
    Membership.objects.create(organization=organization, user=staff.user, role="member")
    assert OWN in staff.submit(_page(organization), **_row(role="owner")).text
    assert staff.submit(_page(organization), name="Renamed").status_code == 302
    assert organization.memberships.get().role == "member"


def test_memberships_that_staff_change_are_audited_with_the_member(staff: Staff) -> None:
    organization, member = Organization.objects.create(name="audited"), make_user("member")
    assert _add(staff, organization, user=member.pk).status_code == 302
    assert staff.submit(_page(organization), **_row(role="owner")).status_code == 302
    added, changed = _events(member.pk, "membership_changed")
    assert {event.actor_id for event in (added, changed)} == {staff.user.pk}
    assert (added.details["organization"], added.details["before"]) == (organization.pk, None)
    assert added.details["after"]["role"] == "member"
    assert (changed.details["before"], changed.details["after"]) == ({"role": "member"}, {"role": "owner"})


def test_the_members_of_a_deleted_organization_are_in_its_row(web_url: str) -> None:
    organization, member = Organization.objects.create(name="deleted"), make_user("member")
    Membership.objects.create(organization=organization, user=member, role="owner")
    with superuser(web_url) as root:
        assert root.submit(f"accounts/organization/{organization.pk}/delete/").status_code == 302
        row = AuditEvent.objects.get(actor_id=root.user.pk, event="staff_change")
    assert row.details["before"]["members"] == [{"user": member.pk, "role": "owner"}]


def test_nobody_verifies_themselves(staff: Staff) -> None:
    path = f"accounts/user/{staff.user.pk}/change/"
    assert staff.submit(path, is_verified="on", full_name="Myself").status_code == 302
    own = User.objects.get(pk=staff.user.pk)
    assert (own.is_verified, own.full_name) == (False, "Myself")


def test_the_own_password_needs_the_old_one(staff: Staff) -> None:
    path = f"accounts/user/{staff.user.pk}/password/"
    answer = staff.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/password_change/")
    staff.post_form(path, {"password1": "another password", "password2": "another password"})
    assert User.objects.get(pk=staff.user.pk).password == staff.user.password


def test_verifying_somebody_is_audited(staff: Staff) -> None:
    user = make_user()
    assert staff.submit(f"accounts/user/{user.pk}/change/", is_verified="on").status_code == 302
    (row,) = _events(user.pk, "staff_change")
    assert (row.details["before"], row.details["after"]) == ({"is_verified": False}, {"is_verified": True})


@pytest.mark.parametrize("box", ["on", None])
def test_a_change_of_address_ends_what_the_old_one_was_good_for(staff: Staff, alice: Person, box: str | None) -> None:
    User.objects.filter(pk=alice.id).update(is_verified=True)
    new = f"taken-over-{alice.email}"
    path = f"accounts/user/{alice.id}/change/"
    assert staff.submit(path, email=new, is_verified=box).status_code == 302
    user = User.objects.get(pk=alice.id)
    assert (user.email, user.is_verified) == (new, False)
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    (row,) = _events(alice.id, "email_changed")
    assert (row.actor_id, row.details) == (
        staff.user.pk,
        {
            "before": {"email": alice.email, "is_verified": True},
            "after": {"email": new, "is_verified": False},
        },
    )


def test_deleting_an_account_leaves_no_address_in_the_audit_log(web_url: str, alice: Person) -> None:
    path = f"accounts/user/{alice.id}/change/"
    with superuser(web_url) as root:
        for number in (1, 2):
            assert root.submit(path, email=f"number-{number}-{alice.email}").status_code == 302
        assert root.submit(f"accounts/user/{alice.id}/delete/").status_code == 302
    rows = AuditEvent.objects.filter(user_id=alice.id)
    assert len(_events(alice.id, "email_changed")) == 2
    assert [row for row in rows if alice.email in str(row.details)] == []


@pytest.mark.parametrize("query", ["email__startswith=a", "updated_at__gt=1", "memberships__role=owner", "id__gt=0"])
def test_lists_are_asked_by_their_filters_alone(web_url: str, query: str) -> None:
    with superuser(web_url) as root:
        assert root.get(f"accounts/user/?{query}").status_code == 400


def test_the_old_address_is_told_and_the_new_one_resets_no_password(
    web_with: Callable[..., str], register: Callable[..., Person], eventually: Callable[..., Any]
) -> None:
    mail_web = web_with(**mail_settings())
    ann = register("ann", mail_web)
    new = f"staffs-own-{ann.email}"
    with superuser(mail_web) as root, Api(mail_web) as anonymous:
        for _ in range(6):  # other clients cannot use up the limit of notices
            anonymous.post("auth/password/forgot", json={"email": ann.email})
        assert root.submit(f"accounts/user/{ann.id}/change/", email=new).status_code == 302
        (text,) = eventually(lambda: mails_to(ann.email, "The e-mail address of your account was changed"))
        assert new not in text
        assert anonymous.post("auth/password/forgot", json={"email": new}).status_code == 202
        other = make_user("other")
        assert (
            root.submit(
                f"accounts/user/{other.pk}/password/", password1="set by staff", password2="set by staff"
            ).status_code
            == 302
        )
        eventually(lambda: mails_to(other.email, "The password of your account was changed"))
        assert mails_to(new, "Reset your password") == []
        login = anonymous.post("auth/login", json={"email": new, "password": ann.password}).json()
        holder = Api(mail_web, token=login["access_token"])
        assert holder.post("auth/email/resend").status_code == 202
        (verify,) = eventually(lambda: mails_to(new, "Verify"))
        token = verify.split("#token=")[1].split()[0]
        assert anonymous.post("auth/email/verify", json={"token": token}).status_code == 200
        assert anonymous.post("auth/password/forgot", json={"email": new}).status_code == 202
        eventually(lambda: mails_to(new, "Reset your password"))


def test_a_mail_that_cannot_be_sent_undoes_nothing(web_with: Callable[..., str]) -> None:
    user = make_user()
    with superuser(web_with(**TWO_PROCESSES)) as root:
        answer = root.submit(f"accounts/user/{user.pk}/change/", email=f"new-{user.email}")
        assert answer.status_code == 302
    assert User.objects.get(pk=user.pk).email == f"new-{user.email}"
    assert not Session.objects.live().filter(user=user).exists()
