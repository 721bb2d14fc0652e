"""POST /organizations/{id}/members, and GET, accept and DELETE of /organizations/invitations.

A user becomes a member only by accepting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from accounts.models import AuditEvent, Membership, Organization, User
from accounts.organizations.invitations import MAX_MEMBERSHIPS
from accounts.recovery.emailed_tokens import make_emailed_token
from accounts.tests.logins import new_email
from accounts.tests.organizations import (
    accept,
    active,
    assert_no_invitation,
    invitations_of,
    invite,
    invited,
    join,
    members_of,
    new_organization,
    verify,
)
from accounts.tests.staff import superuser
from conftest import Person, assert_error, at_once

Register = Callable[..., Person]
ALREADY = "This address is a member, or invited, already"


def decline(person: Person, invitation_id: str) -> httpx2.Response:
    return person.delete(f"organizations/invitations/{invitation_id}")


def test_inviting_tells_nothing_of_an_account(alice: Person, bob: Person, register: Register) -> None:
    carol = register("carol")
    verify(bob)
    organization = new_organization(owner=alice)
    emails = [bob.email, carol.email, new_email("nobody")]
    answers = [invite(alice, organization, email, "admin") for email in emails]
    told = []
    for email, answer in zip(emails, answers, strict=True):
        body = answer.json()
        told.append(
            {
                "user_id": None,
                "email": email,
                "role": "admin",
                "status": "invited",
                "invitation_id": body["invitation_id"],
            }
        )
        assert (answer.status_code, body) == (201, told[-1])
        assert_error(invite(alice, organization, email.upper()), 409, "already_member", ALREADY)
    headers = [set(answer.headers) for answer in answers]
    assert headers[0] == headers[1] == headers[2]
    assert members_of(alice, organization) == [active(alice, "owner"), *told]
    for person in (bob, carol):
        assert person.get("organizations").json() == {"organizations": []}
        answer = person.get(f"organizations/{organization.pk}/members")
        assert_error(answer, 404, "not_found", "Organization not found")


def test_who_is_invited_sees_it_and_accepts(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    first = invited(alice, organization, bob.email.title(), "admin")
    [invitation] = invitations_of(bob)
    assert invitation == {
        "id": first,
        "organization": {"id": organization.pk, "name": "Readers"},
        "role": "admin",
        "created_at": invitation["created_at"],
    }
    answer = accept(bob, first)
    body = answer.json()
    assert answer.status_code == 200
    assert body == {"id": organization.pk, "name": "Readers", "role": "admin", "created_at": body["created_at"]}
    assert bob.get("organizations").json() == {"organizations": [body]}
    assert members_of(alice, organization) == [active(alice, "owner"), active(bob, "admin")]
    assert invitations_of(bob) == []


def test_the_latest_invitation_is_the_first(alice: Person, bob: Person) -> None:
    verify(bob)
    ids = [invited(alice, new_organization(owner=alice), bob.email) for _ in range(3)]
    assert [invitation["id"] for invitation in invitations_of(bob)] == ids[::-1]


def test_accepting_again_changes_nothing(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    answers = at_once(5, lambda _: accept(bob, invitation_id))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert members_of(alice, organization) == [active(alice, "owner"), active(bob, "member")]
    assert alice.delete(f"organizations/{organization.pk}/members/{bob.id}").status_code == 204
    assert_no_invitation(accept(bob, invitation_id))


def test_what_is_declined_is_gone_and_may_be_made_again(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    answer = decline(bob, invitation_id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert_no_invitation(decline(bob, invitation_id))
    assert_no_invitation(accept(bob, invitation_id))
    assert members_of(alice, organization) == [active(alice, "owner")]
    assert accept(bob, invited(alice, organization, bob.email)).status_code == 200


def test_an_invitation_that_was_accepted_can_be_neither_declined_nor_taken_back(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    assert accept(bob, invitation_id).status_code == 200
    assert_no_invitation(decline(bob, invitation_id))
    assert_no_invitation(alice.delete(f"organizations/{organization.pk}/invitations/{invitation_id}"))
    assert members_of(bob, organization)[-1] == active(bob, "member")


def test_of_accepting_and_taking_back_at_once_one_counts(alice: Person, bob: Person) -> None:
    verify(bob)
    for _ in range(5):
        organization = new_organization(owner=alice)
        invitation_id = invited(alice, organization, bob.email)
        path = f"organizations/{organization.pk}/invitations/{invitation_id}"
        accepted, taken_back = at_once(
            2,
            lambda n, number=invitation_id, path=path: (
                (  # type: ignore[misc]
                    alice.delete(path) if n else accept(bob, number)
                ).status_code
            ),
        )
        assert (accepted, taken_back) in ((200, 404), (404, 204))
        assert len(members_of(alice, organization)) == (2 if accepted == 200 else 1)


@pytest.mark.parametrize("who", ["a stranger", "an owner", "a stranger who is verified"])
def test_an_invitation_is_the_invited_address_s_alone(alice: Person, bob: Person, register: Register, who: str) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    other = alice if who == "an owner" else register("carol")
    if who == "a stranger who is verified":
        verify(other)
    assert invitations_of(other) == []
    assert_no_invitation(accept(other, invitation_id))
    assert_no_invitation(decline(other, invitation_id))
    member = Membership.objects.get(organization=organization, user_id=alice.id)
    assert_no_invitation(accept(bob, str(member.pk)))
    assert_no_invitation(decline(bob, str(member.pk)))
    assert [invitation["id"] for invitation in invitations_of(bob)] == [invitation_id]


def test_who_registers_an_invited_address_has_to_verify_it_and_to_accept(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email, "admin")
    assert invitations_of(bob) == []
    assert_no_invitation(accept(bob, invitation_id))
    assert_no_invitation(decline(bob, invitation_id))
    token = make_emailed_token(User.objects.get(pk=bob.id), "verify")
    assert bob.post("auth/email/verify", json={"token": token}).status_code == 200
    assert bob.get("organizations").json() == {"organizations": []}
    assert [invitation["id"] for invitation in invitations_of(bob)] == [invitation_id]
    assert accept(bob, invitation_id).status_code == 200


def test_verifying_an_address_in_the_admin_makes_nobody_a_member(web_url: str, alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    invited(alice, organization, bob.email)
    with superuser(web_url) as root:
        assert root.submit(f"accounts/user/{bob.id}/change/", is_verified="on").status_code == 302
    assert bob.get("organizations").json() == {"organizations": []}
    assert len(invitations_of(bob)) == 1


def test_what_was_taken_back_lets_nobody_in(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    path = f"organizations/{organization.pk}/invitations/{invitation_id}"
    answer = alice.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert_no_invitation(alice.delete(path))
    assert_no_invitation(accept(bob, invitation_id))
    assert members_of(alice, organization) == [active(alice, "owner")]


def test_the_invitation_of_a_deleted_organization_is_gone(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email)
    assert alice.delete(f"organizations/{organization.pk}").status_code == 204
    assert invitations_of(bob) == []
    assert_no_invitation(accept(bob, invitation_id))


def gone(organization: Organization, owner: Person, inviter: Person) -> None:
    assert owner.delete(f"organizations/{organization.pk}/members/{inviter.id}").status_code == 204


def left(organization: Organization, owner: Person, inviter: Person) -> None:
    assert inviter.delete(f"organizations/{organization.pk}/members/{inviter.id}").status_code == 204


def demoted(organization: Organization, owner: Person, inviter: Person) -> None:
    path = f"organizations/{organization.pk}/members/{inviter.id}"
    assert owner.patch(path, json={"role": "member"}).status_code == 200


def deleted(organization: Organization, owner: Person, inviter: Person) -> None:
    assert inviter.delete("users/me").status_code == 204


def shut_out(organization: Organization, owner: Person, inviter: Person) -> None:
    User.objects.filter(pk=inviter.id).update(is_active=False)


def removed_in_the_admin(organization: Organization, owner: Person, inviter: Person) -> None:
    Membership.objects.filter(organization=organization, user_id=inviter.id).delete()


@pytest.mark.parametrize("how", [gone, left, demoted, deleted, shut_out, removed_in_the_admin])
def test_an_invitation_ends_when_whoever_made_it_may_no_longer_invite(
    alice: Person, bob: Person, register: Register, how: Callable[[Organization, Person, Person], None]
) -> None:
    carol = register("carol")
    verify(carol)
    organization = new_organization(owner=alice, admin=bob)
    invitation_id = invited(bob, organization, carol.email)
    kept = invited(alice, organization, new_email("kept"))
    how(organization, alice, bob)
    assert invitations_of(carol) == []
    assert_no_invitation(accept(carol, invitation_id))
    assert_no_invitation(decline(carol, invitation_id))
    listed = [member["invitation_id"] for member in members_of(alice, organization) if member["invitation_id"]]
    assert listed == ([invitation_id, kept] if how in (shut_out, removed_in_the_admin) else [kept])


def test_an_owner_who_becomes_an_admin_has_invited_no_owners(alice: Person, bob: Person, register: Register) -> None:
    carol, dora = register("carol"), register("dora")
    verify(carol)
    verify(dora)
    organization = new_organization(owner=alice, owner_2=bob)
    as_owner = invited(bob, organization, carol.email, "owner")
    as_admin = invited(bob, organization, dora.email, "admin")
    path = f"organizations/{organization.pk}/members/{bob.id}"
    assert alice.patch(path, json={"role": "admin"}).status_code == 200
    assert_no_invitation(accept(carol, as_owner))
    assert accept(dora, as_admin).json()["role"] == "admin"


def test_an_owner_s_invitation_of_an_owner_makes_one(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    assert accept(bob, invited(alice, organization, bob.email, "owner")).json()["role"] == "owner"
    assert members_of(bob, organization)[-1] == active(bob, "owner")


def test_staff_invite_add_directly_and_never_themselves(web_url: str, alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization()
    with superuser(web_url) as root:
        path = f"accounts/organization/{organization.pk}/change/"
        form = {"memberships-TOTAL_FORMS": "1", "memberships-0-role": "member", "memberships-0-user": ""}
        assert root.submit(path, **form, **{"memberships-0-invited_email": bob.email.upper()}).status_code == 302
        assert bob.get("organizations").json() == {"organizations": []}
        direct = {"memberships-TOTAL_FORMS": "2", "memberships-1-role": "owner", "memberships-1-invited_email": ""}
        assert root.submit(path, **direct, **{"memberships-1-user": str(alice.id)}).status_code == 302
    assert members_of(alice, organization)[1] == active(alice, "owner")
    [invitation] = invitations_of(bob)
    assert accept(bob, invitation["id"]).json()["role"] == "member"
    assert members_of(alice, organization)[0] == active(bob, "member")


def test_a_superuser_does_not_invite_themselves(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    User.objects.filter(pk=bob.id).update(is_superuser=True, is_verified=True)
    answer = invite(bob, organization, bob.email.upper())
    assert_error(answer, 403, "permission_denied", "Nobody invites themselves")
    Membership.objects.create(organization=organization, invited_email=bob.email, invited_by_id=bob.id)
    assert invitations_of(bob) == []


def test_who_was_added_meanwhile_keeps_the_role(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    invitation_id = invited(alice, organization, bob.email, "admin")
    join(organization, bob, "member")
    assert accept(bob, invitation_id).json()["role"] == "member"
    assert members_of(bob, organization) == [active(alice, "owner"), active(bob, "member")]


def test_an_account_is_in_500_organizations_at_most_also_at_once(alice: Person, bob: Person) -> None:
    verify(bob)
    ids = range(10**9, 10**9 + MAX_MEMBERSHIPS - 1)
    others = Organization.objects.bulk_create([Organization(pk=number, name="Other") for number in ids])
    Membership.objects.bulk_create([Membership(organization=other, user_id=bob.id) for other in others])
    invitations = [invited(alice, new_organization(owner=alice), bob.email) for _ in range(3)]
    answers = at_once(3, lambda number: accept(bob, invitations[number]))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    detail = "An account can be in 500 organizations"
    for answer in answers:
        if answer.status_code == 409:
            assert_error(answer, 409, "too_many_organizations", detail, context={"limit": 500})
    assert len(invitations_of(bob)) == 2
    Organization.objects.filter(pk__in=ids).delete()


def audited(organization: Organization, event: str) -> list[tuple[int | None, int | None, Any, Any]]:
    """(user id, actor id, before, after) of each row, oldest first."""
    key = "organization" if event == "membership_changed" else "id"
    rows = AuditEvent.objects.filter(
        event=event, **{f"details__{key}": organization.pk if key == "organization" else str(organization.pk)}
    )
    return [(row.user_id, row.actor_id, row.details["before"], row.details["after"]) for row in rows.order_by("pk")]


def test_who_joins_changes_and_leaves_is_written_to_the_audit_log(alice: Person, bob: Person) -> None:
    verify(bob)
    organization = new_organization(owner=alice)
    path = f"organizations/{organization.pk}/members/{bob.id}"
    assert accept(bob, invited(alice, organization, bob.email)).status_code == 200
    for _ in range(2):
        assert alice.patch(path, json={"role": "admin"}).status_code == 200
    assert bob.delete(path).status_code == 204
    assert audited(organization, "membership_changed") == [
        (bob.id, bob.id, None, {"role": "member"}),
        (bob.id, alice.id, {"role": "member"}, {"role": "admin"}),
        (bob.id, bob.id, {"role": "admin"}, None),
    ]
    assert audited(organization, "staff_change") == []


def test_what_a_superuser_does_in_an_organization_of_others_is_audited(alice: Person, bob: Person) -> None:
    organization = new_organization(owner=alice)
    User.objects.filter(pk=bob.id).update(is_superuser=True)
    invitation_id = invited(bob, organization, new_email(), "owner")
    path = f"organizations/{organization.pk}"
    assert bob.delete(f"{path}/invitations/{invitation_id}").status_code == 204
    assert bob.patch(path, json={"name": "Writers"}).status_code == 200
    assert bob.delete(path).status_code == 204
    assert audited(organization, "staff_change") == [
        (None, bob.id, None, {"invited": "owner"}),
        (None, bob.id, {"invited": "owner"}, None),
        (None, bob.id, {"name": "Readers"}, {"name": "Writers"}),
        (None, bob.id, {"name": "Writers"}, None),
    ]


def test_the_invitations_are_no_organization(alice: Person, anonymous: Any) -> None:
    for method in ("PATCH", "DELETE"):
        answer = alice.request(method, "organizations/invitations", json={"name": "Readers"})
        assert_error(answer, 405, "method_not_allowed", "Method not allowed")
    answer = anonymous.get("organizations/invitations")
    assert_error(answer, 401, "not_authenticated", "Not authenticated")
