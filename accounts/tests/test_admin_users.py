"""/admin/accounts/user/."""

import html
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import AuditEvent, Membership, Organization, Session, User
from accounts.tests.staff import form_fields, helper, make_user, superuser
from conftest import Api, Person
from edgechat.stores.mongo import database

HELPER = ("view_user", "add_user", "change_user", "delete_user")


def _login(api: Api, email: str, password: str) -> httpx2.Response:
    return api.post("auth/login", json={"email": email, "password": password})


def _events(user_id: int, event: str) -> list[tuple[Any, ...]]:
    return list(AuditEvent.objects.filter(user_id=user_id, event=event).values_list("actor_id", "details"))


def test_a_user_made_here_can_log_in(web_url: str, anonymous: Api) -> None:
    with superuser(web_url) as root:
        email = root.user.email.replace("root", "Made.Here")
        answer = root.submit(
            "accounts/user/add/", email=email, full_name="Mada", password1="long enough", password2="long enough"
        )
        made = User.objects.get(email=email)
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/accounts/user/{made.pk}/change/")
        assert (made.full_name, made.is_active, made.is_staff, made.is_superuser) == ("Mada", True, False, False)
        assert _events(made.pk, "registered") == [(root.user.pk, {})]
    assert _login(anonymous, email, "long enough").status_code == 200


def _roles(before: str, after: str) -> dict[str, Any]:
    return {"before": {"role": before, "superuser": False}, "after": {"role": after, "superuser": False}}


@pytest.mark.parametrize(
    ("password1", "password2", "message"),
    [
        ("short", "short", "at least 8 characters"),
        ("long enough", "not the same", "The two password fields didn’t match."),
        ("x" * 129, "x" * 129, "at most 128 characters"),
        ("", "", "This field is required."),
    ],
)
def test_a_user_needs_a_good_password(web_url: str, password1: str, password2: str, message: str) -> None:
    with superuser(web_url) as root:
        email = f"new-{root.user.email}"
        answer = root.submit("accounts/user/add/", email=email, password1=password1, password2=password2)
        assert answer.status_code == 200
        assert message in html.unescape(answer.text)
        assert not User.objects.filter(email=email).exists()


def test_an_email_in_other_letters_is_a_form_error(web_url: str) -> None:
    taken, other = make_user("taken"), make_user("other")
    message = "There is a user with this e-mail address already."
    with superuser(web_url) as root:
        answer = root.submit(
            "accounts/user/add/", email=taken.email.upper(), password1="long enough", password2="long enough"
        )
        assert answer.status_code == 200
        assert message in answer.text
        answer = root.submit(f"accounts/user/{other.pk}/change/", email=taken.email.title())
        assert answer.status_code == 200
        assert message in answer.text
        answer = root.submit(f"accounts/user/{other.pk}/change/", email=other.email.upper())
        assert answer.status_code == 302
    other.refresh_from_db()
    assert other.email == other.email.upper()


def test_no_page_shows_a_password_or_its_hash(web_url: str) -> None:
    user = make_user()
    with superuser(web_url) as root:
        for path in ("accounts/user/", f"accounts/user/{user.pk}/change/", f"accounts/user/{user.pk}/password/"):
            page = root.get(path)
            assert page.status_code == 200
            assert "argon2" not in page.text
        root.submit(f"accounts/user/{user.pk}/change/", password="argon2$by hand")
    assert User.objects.get(pk=user.pk).password == user.password


def test_setting_a_password_ends_all_sessions_of_the_user(web_url: str, alice: Person, anonymous: Api) -> None:
    with superuser(web_url) as root:
        path = f"accounts/user/{alice.id}/password/"
        answer = root.submit(path, password1="set by staff", password2="set by staff")
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/accounts/user/{alice.id}/change/")
        assert _events(alice.id, "password_changed") == [(root.user.pk, {})]
    assert alice.get("auth/me").json()["code"] == "token_revoked"
    assert _login(anonymous, alice.email, alice.password).status_code == 401
    assert _login(anonymous, alice.email, "set by staff").status_code == 200


def test_a_password_that_is_refused_ends_nothing(web_url: str, alice: Person) -> None:
    with superuser(web_url) as root:
        answer = root.submit(f"accounts/user/{alice.id}/password/", password1="short", password2="short")
        assert answer.status_code == 200
        assert "at least 8 characters" in answer.text
        assert _events(alice.id, "password_changed") == []
    assert alice.get("auth/me").status_code == 200


def test_users_are_found_by_email_name_and_id(web_url: str) -> None:
    sought, other = make_user("sought", full_name="Ada Sought"), make_user("other")
    with superuser(web_url) as root:
        for term in (sought.email[:20].upper(), f"Ada {sought.email}", str(sought.pk)):
            page = root.get("accounts/user/", params={"q": term}).text
            assert sought.email in page
            assert other.email not in page
        assert other.email in root.get("accounts/user/", params={"q": "other", "is_active__exact": "1"}).text
        assert other.email not in root.get("accounts/user/", params={"q": "other", "is_staff__exact": "1"}).text
        assert root.get("accounts/user/", params={"password__startswith": "argon2"}).status_code in (302, 400)


def test_a_users_sessions_are_shown_and_not_to_be_changed(web_url: str, alice: Person) -> None:
    Session.objects.filter(user_id=alice.id).update(device_name="A pocket telephone")
    with superuser(web_url) as root:
        page = root.get(f"accounts/user/{alice.id}/change/").text
        assert "A pocket telephone" in page
        fields = form_fields(page)
        assert [name for name in fields if name.startswith("sessions-0-") and not name.endswith(("-id", "-user"))] == []


def test_a_superuser_makes_staff_and_it_is_audited(web_url: str, alice: Person) -> None:
    with superuser(web_url) as root:
        path = f"accounts/user/{alice.id}/change/"
        assert root.submit(path, is_staff="on").status_code == 302
        assert User.objects.get(pk=alice.id).is_staff
        assert root.submit(path, full_name="Alice").status_code == 302
        assert root.submit(path, is_staff=None).status_code == 302
        assert _events(alice.id, "role_changed") == [
            (root.user.pk, {"role": after, "superuser": False, **_roles(before, after)})
            for before, after in [("admin", "user"), ("user", "admin")]
        ]


def test_a_superuser_cannot_change_their_own_rights(web_url: str) -> None:
    with superuser(web_url) as root:
        path = f"accounts/user/{root.user.pk}/change/"
        assert root.submit(path, full_name="Root", is_superuser=None, is_staff=None, is_active=None).status_code == 302
        user = User.objects.get(pk=root.user.pk)
        assert (user.full_name, user.is_superuser, user.is_staff, user.is_active) == ("Root", True, True, True)
        assert root.get(f"accounts/user/{root.user.pk}/delete/").status_code == 403


def test_staff_without_superusers_rights_cannot_raise_rights(web_url: str) -> None:
    user = make_user()
    with helper(web_url, *HELPER) as staff:
        for pk in (user.pk, staff.user.pk):
            path = f"accounts/user/{pk}/change/"
            raised = {"is_staff": "on", "is_superuser": "on", "user_permissions": "1", "groups": "1"}
            assert staff.submit(path, full_name="Renamed", **raised).status_code == 302
            changed = User.objects.get(pk=pk)
            assert (changed.full_name, changed.is_superuser) == ("Renamed", False)
            assert not changed.groups.exists()
        assert not User.objects.get(pk=user.pk).is_staff
        assert set(staff.user.user_permissions.values_list("codename", flat=True)) == set(HELPER)
        assert staff.get("auth/group/").status_code == 403
        assert staff.get("auth/group/add/").status_code == 403


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_staff": True, "is_superuser": True}])
def test_staff_without_superusers_rights_leave_other_staff_alone(web_url: str, rights: dict[str, Any]) -> None:
    boss = make_user("boss", **rights)
    with helper(web_url, *HELPER) as staff:
        path = f"accounts/user/{boss.pk}"
        fields = {"email": f"taken-{boss.email}", "password1": "long enough", "password2": "long enough", "post": "yes"}
        page = staff.get(f"{path}/change/")
        assert page.status_code == 200
        assert "../password/" not in page.text
        assert staff.post_form(f"{path}/change/", fields).status_code == 403
        assert staff.post_form(f"{path}/password/", fields).status_code == 403
        assert staff.post_form(f"{path}/delete/", fields).status_code == 403
        assert staff.act("accounts/user/", "delete_selected", boss.pk, post="yes").status_code == 403
    left = User.objects.get(pk=boss.pk)
    assert (left.email, left.password) == (boss.email, boss.password)


def test_a_malformed_id_is_no_500(web_url: str) -> None:
    with superuser(web_url) as root:
        assert root.get("accounts/user/nobody/password/").status_code == 404
        assert root.get("accounts/user/999999999999/password/").status_code == 404
        assert root.get("accounts/user/nobody/change/").status_code == 302


def test_deleting_a_user_deletes_the_transcripts(web_url: str, alice: Person) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "hello")
    with superuser(web_url) as root:
        question = root.get(f"accounts/user/{alice.id}/delete/")
        assert question.status_code == 200
        assert alice.email in question.text
        assert root.submit(f"accounts/user/{alice.id}/delete/").status_code == 302
        assert _events(alice.id, "account_deleted") == [(root.user.pk, {})]
    _assert_gone(alice)


def test_deleting_chosen_users_deletes_their_transcripts(web_url: str, alice: Person, bob: Person) -> None:
    for person in (alice, bob):
        person.say(person.new_conversation(), "hello")
    with superuser(web_url) as root:
        question = root.act("accounts/user/", "delete_selected", alice.id, bob.id)
        assert question.status_code == 200
        assert User.objects.filter(pk__in=[alice.id, bob.id]).count() == 2
        answer = root.act("accounts/user/", "delete_selected", alice.id, bob.id, post="yes")
        assert answer.status_code == 302
    _assert_gone(alice)
    _assert_gone(bob)


@pytest.mark.parametrize(
    ("meanwhile", "status"),
    [
        ({"password": "set meanwhile"}, 302),
        ({"is_active": False, "deletion_requested_at": timezone.now() + timedelta(days=1)}, 403),
    ],
    ids=["password", "deletion"],
)
def test_what_becomes_of_a_user_while_staff_save_stays(
    web_url: str, eventually: Callable[..., Any], meanwhile: dict[str, Any], status: int
) -> None:
    user = make_user()
    with superuser(web_url) as root, ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(**meanwhile)
            saving = pool.submit(root.submit, f"accounts/user/{user.pk}/change/", full_name="Renamed")
            eventually(blocks_another)
        assert saving.result().status_code == status
    stored = User.objects.get(pk=user.pk)
    assert {name: getattr(stored, name) for name in meanwhile} == meanwhile
    assert stored.full_name == ("Renamed" if status == 302 else "")
    stored.delete()


def _assert_gone(person: Person) -> None:
    assert not User.objects.filter(pk=person.id).exists()
    transcripts = database()
    for collection in ("conversations", "messages"):
        assert transcripts[collection].count_documents({"owner_id": person.id}) == 0
    assert person.get("auth/me").status_code == 401


def blocks_another() -> bool:
    """Whether another connection waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def test_the_page_before_a_deletion_says_how_much_goes(web_url: str, alice: Person, bob: Person) -> None:
    conversation = alice.new_conversation()
    assert alice.post("todos", json={"title": "to be deleted"}).status_code == 200
    sent = alice.post(f"chat/conversations/{conversation}/messages", json={"content": "for the ledger"})
    assert sent.status_code == 200
    with superuser(web_url) as root:
        page = " ".join(root.get(f"accounts/user/{alice.id}/delete/").text.split())
        for line in ("1 conversation<", "1 todo<", "1 session<", "kept without a name<", "1 audit event, kept<"):
            assert f"<li>{line}" in page or line in page, line
        assert "ledger entr" in page
        both = root.act("accounts/user/", "delete_selected", alice.id, bob.id)
        assert "2 sessions" in both.text
        organization = Organization.objects.create(name="to be deleted")
        Membership.objects.create(organization=organization, user_id=alice.id, role="owner")
        assert "1 membership" in root.get(f"accounts/organization/{organization.pk}/delete/").text
