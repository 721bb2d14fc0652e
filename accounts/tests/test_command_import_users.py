"""manage.py import_users."""

from __future__ import annotations

import io
import itertools
import json
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import argon2
import bcrypt
import pytest
from django.core.management import CommandError, call_command

from accounts.lifecycle import user_import
from accounts.models import AuditEvent, User
from accounts.tests.staff import make_user
from conftest import Api, assert_error

PASSWORD = "an older password"
BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
# passlib's default parameters
ARGON2 = argon2.PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4, salt_len=16).hash(PASSWORD)

# Far apart, because users that other tests register get ids in between.
_ids = itertools.count(random.SystemRandom().randrange(10**6, 10**9), step=10_000)


@pytest.fixture
def new_email() -> Any:
    return lambda: f"Older-{uuid.uuid4().hex[:12]}@example.com"


def write(folder: Path, *rows: Any, name: str = "users.ndjson") -> Path:
    file = folder / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def run(file: Path, **options: Any) -> str:
    out = io.StringIO()
    call_command("import_users", str(file), stdout=out, **options)
    return out.getvalue()


def refusals(file: Path) -> tuple[list[str], str]:
    """The rejected lines, and the summary of the CommandError."""
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("import_users", str(file), stdout=out)
    return out.getvalue().splitlines(), str(raised.value)


def kept(user: User) -> tuple[Any, ...]:
    return (user.pk, user.email, user.password, user.full_name, user.role, user.is_active, user.created_at)


def test_users_keep_their_ids_hashes_and_times(tmp_path: Path, new_email: Any) -> None:
    first, second, emails = next(_ids), next(_ids), [new_email() for _ in range(3)]
    file = write(
        tmp_path,
        "id,email,hashed_password,full_name,role,is_active,created_at,updated_at",
        f'{first},{emails[0]},{BCRYPT},"Ann, the ""first""\nof two lines",admin,true,2024-03-01T12:00:00+02:00,x',
        f'{second}, {emails[1]} ,"{ARGON2}",,,False,2024-03-01 12:00:00',
        f",{emails[2]},{BCRYPT}",
        name="users.csv",
    )
    assert run(file) == "Imported 3 users, 1 of them staff; 0 were there already, 0 lines were refused.\n"
    users = [User.objects.get(email=email) for email in emails]
    full_name = 'Ann, the "first"\nof two lines'
    at = datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert kept(users[0]) == (first, emails[0], f"bcrypt${BCRYPT}", full_name, "admin", True, at)
    assert kept(users[1]) == (second, emails[1], f"argon2{ARGON2}", "", "user", False, at.replace(hour=12))
    assert users[2].pk > second
    assert kept(users[2])[1:6] == (emails[2], f"bcrypt${BCRYPT}", "", "user", True)
    assert [user.is_superuser or user.is_verified for user in users] == [False] * 3
    events = AuditEvent.objects.filter(user_id__in=[user.pk for user in users]).values_list("event", "details")
    assert list(events) == [("registered", {"imported": True})] * 3


def test_who_registers_afterwards_gets_an_id_of_their_own(tmp_path: Path, new_email: Any, anonymous: Api) -> None:
    largest = next(_ids)
    run(write(tmp_path, {"id": largest, "email": new_email(), "hashed_password": BCRYPT}))
    for _ in range(2):
        answer = anonymous.post("auth/register", json={"email": new_email(), "password": PASSWORD})
        assert answer.status_code == 201
    assert User.objects.filter(pk__gt=largest).count() >= 2


@pytest.mark.parametrize(
    "older_hash",
    [BCRYPT, BCRYPT.replace("$2b$", "$2a$"), BCRYPT.replace("$2b$", "$2y$"), ARGON2],
    ids=["2b", "2a", "2y", "argon2id"],
)
def test_an_imported_password_logs_in_and_its_hash_is_replaced_once(
    tmp_path: Path, new_email: Any, anonymous: Api, older_hash: str
) -> None:
    email = new_email()
    run(write(tmp_path, {"email": email, "hashed_password": older_hash}))
    wrong = anonymous.post("auth/login", json={"email": email, "password": "another password"})
    assert_error(wrong, 401, "invalid_credentials", "Invalid email or password")
    assert older_hash in User.objects.get(email=email).password
    assert anonymous.post("auth/login", json={"email": email.upper(), "password": PASSWORD}).status_code == 200
    replaced = User.objects.get(email=email).password
    assert replaced.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert anonymous.post("auth/login", json={"email": email, "password": PASSWORD}).status_code == 200
    assert User.objects.get(email=email).password == replaced


def test_a_password_longer_than_bcrypt_reads_logs_in_and_counts_whole_from_then_on(
    tmp_path: Path, new_email: Any, anonymous: Api
) -> None:
    email, password = new_email(), "ä" * 60
    hashed = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    run(write(tmp_path, {"email": email, "hashed_password": hashed}))
    assert anonymous.post("auth/login", json={"email": email, "password": password}).status_code == 200
    assert anonymous.post("auth/login", json={"email": email, "password": password[:59]}).status_code == 401
    assert anonymous.post("auth/login", json={"email": email, "password": password}).status_code == 200


def test_the_same_file_again_changes_nothing(tmp_path: Path, new_email: Any) -> None:
    rows = [{"id": next(_ids), "email": new_email(), "hashed_password": BCRYPT} for _ in range(3)]
    file = write(tmp_path, *rows, {"email": new_email(), "hashed_password": ARGON2})
    run(file)
    emails = [row["email"] for row in rows]
    User.objects.filter(email=emails[0]).update(full_name="Changed since", password="!")
    before = list(User.objects.filter(email__in=emails).values())
    assert run(file) == "Imported 0 users, 0 of them staff; 4 were there already, 0 lines were refused.\n"
    assert list(User.objects.filter(email__in=emails).values()) == before


def test_a_dry_run_stores_nothing(tmp_path: Path, new_email: Any) -> None:
    email = new_email()
    file = write(tmp_path, {"email": email, "hashed_password": BCRYPT, "role": "admin"})
    told = "Would import 1 users, 1 of them staff; 0 were there already, 0 lines were refused.\n"
    assert run(file, dry_run=True) == told
    assert not User.objects.filter(email=email).exists()


def test_a_bad_line_is_told_and_does_not_stop_the_rest(tmp_path: Path, new_email: Any) -> None:
    good, again, there = new_email(), new_email(), make_user()
    hashed = {"hashed_password": BCRYPT}
    file = write(
        tmp_path,
        {"email": "no address", **hashed},
        {"email": new_email(), "hashed_password": "plain text"},
        {"email": new_email()},
        "{",
        "[]",
        {"email": new_email(), "role": "owner", **hashed},
        {"email": new_email(), "is_active": "perhaps", "created_at": "yesterday", **hashed},
        {"id": 2**60, "email": new_email(), **hashed},
        {"id": there.pk, "email": new_email(), **hashed},
        {"id": next(_ids), "email": there.email.upper(), **hashed},
        {"email": again, **hashed},
        {"email": again.swapcase(), **hashed},
        {"email": new_email(), "full_name": "a\0b", **hashed},
        "",
        {"email": good, **hashed},
    )
    lines, summary = refusals(file)
    assert summary == "Imported 2 users, 0 of them staff; 0 were there already, 12 lines were refused."
    assert lines == [
        "line 1: email: Enter a valid email address.",
        "line 2: hashed_password: neither bcrypt nor Argon2id, or one that takes too long to check",
        "line 3: hashed_password: This field is required.",
        "line 4: not a JSON object",
        "line 5: not a JSON object",
        'line 6: role: "owner" is not a valid choice.',
        "line 7: is_active: Must be a valid boolean.; created_at: Datetime has wrong format. Use one of these formats "
        "instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
        "line 8: id: Ensure this value is less than or equal to 9007199254740992.",
        f"line 9: the id {there.pk} belongs to another user here",
        f"line 10: {there.email.upper()} has the id {there.pk} here",
        "line 12: the same e-mail or id is on line 11",
        "line 13: full_name: Null characters are not allowed.",
    ]
    assert User.objects.filter(email=good).exists()
    assert BCRYPT not in "".join(lines)


def test_bad_lines_of_csv_are_told(tmp_path: Path, new_email: Any) -> None:
    good, file = new_email(), tmp_path / "users.csv"
    header = f"email,hashed_password\n{new_email()},{BCRYPT},too,many\n"
    bad = b"\xff@example.com," + BCRYPT.encode() + b"\n" + b"x" * 200_000 + b",y\n"
    file.write_bytes(b"\xef\xbb\xbf" + header.encode() + bad + f"{good},{BCRYPT}\n".encode())
    lines, summary = refusals(file)
    assert lines == [
        "line 2: more cells than columns",
        "line 3: email: Surrogate characters are not allowed: U+DCFF. Enter a valid email address.",
        "line 4: field larger than field limit (131072)",
    ]
    assert summary == "Imported 1 users, 0 of them staff; 0 were there already, 3 lines were refused."
    assert User.objects.filter(email=good).exists()


@pytest.mark.parametrize(
    "older_hash",
    [
        BCRYPT.replace("$04$", "$13$"),
        BCRYPT[:-1],
        BCRYPT[:28] + "b" + BCRYPT[29:],
        ARGON2.replace("m=65536", "m=262145"),
        ARGON2.replace("t=3", "t=5"),
        ARGON2.replace("p=4$", "p=4$abc"),
        ARGON2.replace("argon2id", "argon2i"),
        ARGON2 + "é",
        "$argon2id$v=19$m=65536,t=3,p=4$!$!",
        "$argon2id$nothing",
    ],
    # The hashes differ in each process.
    ids=["cost", "short", "bcrypt salt", "memory", "rounds", "argon2 salt", "argon2i", "letter", "empty", "nothing"],
)
def test_hashes_that_could_not_be_checked_or_take_too_long_are_refused(
    tmp_path: Path, new_email: Any, older_hash: str
) -> None:
    lines, _ = refusals(write(tmp_path, {"email": new_email(), "hashed_password": older_hash}))
    assert lines == ["line 1: hashed_password: neither bcrypt nor Argon2id, or one that takes too long to check"]


@pytest.mark.parametrize(
    "damaged",
    [f"bcrypt${BCRYPT[:28]}b{BCRYPT[29:]}", "argon2" + ARGON2.replace("p=4$", "p=4$abc")],
    ids=["bcrypt", "argon2"],
)
def test_a_stored_hash_that_is_damaged_is_no_fault_at_login(anonymous: Api, damaged: str) -> None:
    user = make_user()
    User.objects.filter(pk=user.pk).update(password=damaged)
    answer = anonymous.post("auth/login", json={"email": user.email, "password": PASSWORD})
    assert_error(answer, 401, "invalid_credentials", "Invalid email or password")


def test_more_users_than_a_batch_are_imported(tmp_path: Path, new_email: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_import, "ROWS_PER_BATCH", 2)
    emails = [new_email() for _ in range(5)]
    file = write(tmp_path, *({"email": email, "hashed_password": BCRYPT} for email in [*emails, emails[0]]))
    lines, summary = refusals(file)
    assert lines == ["line 6: the same e-mail or id is on line 1"]
    assert summary.startswith("Imported 5 users")
    assert User.objects.filter(email__in=emails).count() == 5


def test_files_that_cannot_be_read_are_command_errors(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(tmp_path / "absent.csv")
    with pytest.raises(CommandError, match=r"does not end with one of \.csv, \.ndjson, \.jsonl"):
        run(write(tmp_path, name="users.txt"))
    with pytest.raises(CommandError, match="has no column hashed_password"):
        run(write(tmp_path, "email,name", name="users.csv"))
    with pytest.raises(CommandError, match="has no column email, hashed_password"):
        run(write(tmp_path, name="empty.csv"))
