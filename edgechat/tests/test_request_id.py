"""X-Request-ID: the client's own if well-formed, else a new one; in every response."""

from __future__ import annotations

import uuid

import pytest

from conftest import Api, Person, assert_error


@pytest.mark.parametrize("path", ["auth/me", "nothing", "health", "auth/login"])
def test_a_well_formed_id_is_taken(anonymous: Api, path: str) -> None:
    for given in ("a", "A-Z_a.z-0.9", "x" * 128, "-", ".", "0b7c1c2e-6d1f-4f4b-9a55-3a1c0e6f2d11"):
        answer = anonymous.get(path, headers={"X-Request-ID": given})
        assert answer.headers["X-Request-ID"] == given
        if answer.status_code >= 400:
            assert answer.json()["request_id"] == given


MALFORMED = ("", "x" * 129, "a b", "a,b", "ä", "a/b", "a:b", "a;b", "<x>", "{}", "١", "a\tb", "%0a", '"a"')


def test_another_one_is_replaced_by_a_new_uuid(anonymous: Api) -> None:
    seen = set()
    for given in (*(text.encode() for text in MALFORMED), b"\xe9"):
        for _ in range(2):
            answer = anonymous.get("auth/me", headers={b"X-Request-ID": given})
            assert_error(answer, 401, "not_authenticated", "Not authenticated")
            made = answer.headers["X-Request-ID"]
            assert str(uuid.UUID(made)) == made
            assert made not in seen
            seen.add(made)


def test_two_ids_are_none(anonymous: Api) -> None:
    answer = anonymous.get("auth/me", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])
    assert str(uuid.UUID(answer.headers["X-Request-ID"])) == answer.json()["request_id"]


def test_each_request_without_one_gets_its_own(anonymous: Api) -> None:
    ids = {anonymous.get("health").headers["X-Request-ID"] for _ in range(5)}
    assert len({uuid.UUID(one) for one in ids}) == 5


def test_a_successful_answer_has_it_too(alice: Person) -> None:
    answer = alice.get("auth/me", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers.get_list("X-Request-ID")) == (200, ["mine"])
