"""Which spellings of an e-mail address count as the same address."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.core.management.base import CommandError
from django.db import IntegrityError, connection, transaction

from accounts.addresses import email_key
from accounts.models import Membership, User
from accounts.tests.logins import log_in
from accounts.tests.organizations import accept, invitations_of, invite, invited, members_of, new_organization, verify
from accounts.tests.staff import superuser
from conftest import Api, Person, assert_error

REGISTRATIONS = ("auth/register", "auth/signup", "users/register")
PASSWORD = "correct horse"
KELVIN, DOTTED, DOTLESS, LONG_S = "\u212a", "\u0130", "\u0131", "\u017f"
BUECHER = (
    "b\u00fccher.example",
    "bu\u0308cher.example",
    "B\u00dcCHER.Example",
    "xn--bcher-kva.example",
    "XN--BCHER-KVA.example",
)
FOLDING = (
    f"{KELVIN}@example.com",
    f"{DOTTED}@example.com",
    f"{DOTLESS}@example.com",
    f"{LONG_S}@example.com",
    f"ann@boo{KELVIN}s.example",
    f"ann@{DOTTED}stanbul.example",
    f"ann@{DOTLESS}stanbul.example",
    f"ann@u{LONG_S}a.example",
    "ann@\uff45xample.com",
    "ann@ex\u00adample.com",
    "ann@example\u3002com",
    "ann@\u2126.example",
    "ann@stra\u00dfe.example",
    "ann@\u0440\u0430\ufb01.example",
    "\uff41nn@example.com",
    "\u00e4nn@example.com",
)


@pytest.fixture
def local() -> str:
    return f"ann-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ann@Example.com", "ann@example.com"),
        (" ann@example.com\n", "ann@example.com"),
        *((f"ann@{one}", f"ANN@{other}") for one in BUECHER for other in BUECHER),
        ("a@\u041f\u0420\u0418\u041c\u0415\u0420.\u0440\u0444", "a@xn--e1afmkfd.xn--p1ai"),
        ("a@\u4f8b\u3048.jp", "a@XN--r8jz45g.jp"),
    ],
)
def test_spellings_of_one_address_have_one_key(one: str, other: str) -> None:
    assert email_key(one) == email_key(other)
    assert email_key(one).isascii()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{KELVIN}@example.com", "k@example.com"),
        (f"ann@boo{KELVIN}s.example", "ann@books.example"),
        (f"a@{DOTTED}stanbul.example", "a@istanbul.example"),
        (f"a@{DOTLESS}stanbul.example", "a@istanbul.example"),
        (f"{LONG_S}@example.com", "s@example.com"),
        ("ann@\uff45xample.com", "ann@example.com"),
        ("ann@stra\u00dfe.example", "ann@strasse.example"),
        ("\u00c4@example.com", "\u00e4@example.com"),
        ("ann@example.com", "ann@example.com."),
        ("ann.lee@example.com", "annlee@example.com"),
        ("ann@b\u00fccher.example", "ann@bucher.example"),
    ],
)
def test_other_addresses_have_other_keys(one: str, other: str) -> None:
    assert email_key(one) != email_key(other)
    assert email_key(email_key(one)) == email_key(one)


@pytest.mark.parametrize(
    "text", ["", "@", "ann", "deleted-7", "ann@", "ann@\u00fc..\u00fc", "ann@\ud800", "\u00fc" * 254]
)
def test_whatever_is_no_address_has_a_key_too(text: str) -> None:
    assert email_key(text) == text


def test_addresses_that_fold_into_others_are_not_registered_nor_invited(
    anonymous: Api, alice: Person, local: str, register: Callable[..., Person]
) -> None:
    organization = new_organization(owner=alice)
    for folding in FOLDING:
        email = f"{local}{folding}"
        for path in REGISTRATIONS:
            answer = log_in(anonymous, email, PASSWORD, path)
            assert (email, answer.status_code) == (email, 422)
            assert [error["field"] for error in answer.json()["errors"]] == ["body.email"]
        answer = invite(alice, organization, email)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["body.email"])
    assert not User.objects.filter(email__startswith=local).exists()
    assert len(members_of(alice, organization)) == 1


def test_an_address_in_needless_quotes_is_not_registered(anonymous: Api, local: str) -> None:
    for path in REGISTRATIONS:
        for quoted in (f'"{local}"', f'"{local}.lee"', f'"{local}\\ lee"', f'"{local[:-1]}\\{local[-1]}"'):
            answer = log_in(anonymous, f"{quoted}@example.com", PASSWORD, path)
            assert (quoted, answer.status_code) == (quoted, 422)
            assert [error["field"] for error in answer.json()["errors"]] == ["body.email"]
    assert log_in(anonymous, f'"{local}..lee"@example.com', PASSWORD, "users/register").status_code == 200


def test_a_domain_is_one_in_unicode_and_encoded(anonymous: Api, local: str) -> None:
    typed = f"{local}@{BUECHER[0]}"
    assert anonymous.post("auth/signup", json={"email": typed, "password": PASSWORD}).json()["user"]["email"] == typed
    for domain in BUECHER:
        email = f"{local.upper()}@{domain}"
        for path in REGISTRATIONS:
            answer = log_in(anonymous, email, PASSWORD, path)
            assert_error(answer, 400, "email_taken", "Email already registered")
        for path in ("auth/login", "auth/signin", "users/login"):
            assert log_in(anonymous, email, PASSWORD, path).status_code == 200
    assert User.objects.filter(email__startswith=local).count() == 1


def test_five_failures_lock_an_address_in_every_spelling(anonymous: Api, local: str) -> None:
    for domain in BUECHER:
        assert log_in(anonymous, f"{local}@{domain}", "wrong password").status_code == 401
    assert log_in(anonymous, f"{local.upper()}@{BUECHER[0]}", "wrong password").json()["code"] == "login_locked"


def test_an_invitation_is_for_the_address_and_for_none_that_folds_into_it(
    alice: Person, anonymous: Api, local: str, register: Callable[..., Person]
) -> None:
    organization = new_organization(owner=alice)
    ann = register("ann")
    User.objects.get(pk=ann.id)
    user = User.objects.get(pk=ann.id)
    user.email = f"{local}@{BUECHER[3]}"
    user.save()
    verify(ann)
    invitation = invited(alice, organization, f"{local}@{BUECHER[0]}")
    assert invite(alice, organization, f"{local}@{BUECHER[2]}").json()["code"] == "already_member"
    assert [one["id"] for one in invitations_of(ann)] == [invitation]
    assert accept(ann, invitation).status_code == 200
    assert invite(alice, organization, f"{local}@{BUECHER[1]}").json()["code"] == "already_member"
    # Older accounts may have such addresses.
    for number, (mine, meant) in enumerate(
        [
            (f"{local}@{DOTTED}stanbul.example", f"{local}@istanbul.example"),
            (f"{local}{KELVIN}@example.com", f"{local}k@example.com"),
            (f"{local}@boo{KELVIN}.example", f"{local}@book.example"),
        ]
    ):
        User.objects.create_user(mine, PASSWORD, is_verified=True)
        other = anonymous.signed_in(log_in(anonymous, mine, PASSWORD).json()["access_token"])
        invited(alice, organization, meant)
        assert other.get("organizations/invitations").json() == {"invitations": []}, number
        other.close()


def test_who_has_an_older_address_logs_in_with_it_as_typed(anonymous: Api, local: str) -> None:
    for older, folded in (
        (f"{local}{KELVIN}@Example.com", f"{local}k@example.com"),
        (f"{local}@{DOTTED}stanbul.example", f"{local}@istanbul.example"),
        (f"\u00c4{local}@example.com", f"\u00e4{local}@example.com"),
    ):
        User.objects.create_user(older, PASSWORD)
        assert log_in(anonymous, older, PASSWORD).status_code == 200
        assert log_in(anonymous, folded, PASSWORD).status_code == 401
    assert log_in(anonymous, f"{local}k@example.com", PASSWORD, "auth/register").status_code == 201


def test_the_database_has_each_address_once(local: str) -> None:
    User.objects.create_user(f"{local}@{BUECHER[0]}", PASSWORD)
    for domain in BUECHER:
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.create_user(f"{local}@{domain}", PASSWORD)
    organization = new_organization()
    Membership.objects.create(organization=organization, invited_email=f"{local}@{BUECHER[0]}")
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(organization=organization, invited_email=f"{local}@{BUECHER[3]}")


def test_a_row_of_the_version_before_is_found(anonymous: Api, local: str) -> None:
    user = User.objects.create_user(f"{local}@other.example", PASSWORD)
    others = [field for field in User._meta.concrete_fields if field.name not in ("id", "email", "email_key")]
    names = ", ".join(str(field.column) for field in others)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO accounts_user (email, {names}) SELECT %s, {names} FROM accounts_user WHERE id = %s",
            [f"{local.upper()}@Example.com", user.pk],
        )
    assert log_in(anonymous, f"{local}@example.com", PASSWORD).status_code == 200


def test_staff_give_no_account_an_address_that_folds(web_url: str, local: str, register: Callable[..., Person]) -> None:
    ann = register("ann")
    path = f"accounts/user/{ann.id}/change/"
    with superuser(web_url) as root:
        for folding in (f"{local}@{DOTTED}stanbul.example", f"{local}{KELVIN}@example.com"):
            assert "characters that stand for others" in root.submit(path, email=folding).text
        assert root.submit(path, email=f"{local}@{BUECHER[0]}").status_code == 302
        assert root.submit(path, email=f"{local}@{BUECHER[3]}").status_code == 302
    assert User.objects.get(pk=ann.id).email_key == f"{local}@xn--bcher-kva.example"


ROWS = [
    (1, "Ann@Example.com", "ann@example.com"),
    (2, f"ann@{BUECHER[0]}", "ann@xn--bcher-kva.example"),
    (3, f"{KELVIN}@example.com", f"{KELVIN}@example.com"),
    (4, "k@example.com", "k@example.com"),
    (5, "deleted-5", "deleted-5"),
]


def fill_keys(
    users: list[tuple[int, str]], invitations: list[tuple[int, int, str]]
) -> tuple[list[tuple[int, str]], list[int]]:
    """The result of the migration for these rows, in temporary tables with the same names."""
    migration = import_module("accounts.migrations.0009_email_keys")
    with transaction.atomic(), connection.cursor() as cursor:
        for name, columns in (("user", "email"), ("membership", "invited_email")):
            cursor.execute(
                f"CREATE TEMP TABLE accounts_{name} (id bigint, organization_id bigint, user_id bigint, {columns} text,"
                f" {columns}_key text NOT NULL DEFAULT '') ON COMMIT DROP"
            )
        cursor.executemany("INSERT INTO accounts_user (id, email) VALUES (%s, %s)", users)
        insert = "INSERT INTO accounts_membership (id, organization_id, invited_email) VALUES (%s, %s, %s)"
        cursor.executemany(insert, invitations)
        migration.fill_keys(None, SimpleNamespace(connection=connection))
        cursor.execute("SELECT id, email_key FROM accounts_user ORDER BY id")
        keys = cursor.fetchall()
        cursor.execute("SELECT id FROM accounts_membership ORDER BY id")
        return keys, [number for (number,) in cursor.fetchall()]


def test_the_migration_gives_each_row_its_key() -> None:
    invitations = [(1, 1, f"ann@{BUECHER[3]}"), (2, 1, f"Ann@{BUECHER[0]}"), (3, 2, f"ann@{BUECHER[0]}")]
    keys, left = fill_keys([(number, email) for number, email, _ in ROWS], invitations)
    assert keys == [(number, key) for number, _, key in ROWS]
    assert left == [1, 3]


def test_the_migration_stops_where_two_users_have_one_address() -> None:
    rows = [*((number, email) for number, email, _ in ROWS), (7, f"ANN@{BUECHER[3]}")]
    with pytest.raises(CommandError, match="have one e-mail address, spelled in different ways: 2 and 7"):
        fill_keys(rows, [])
