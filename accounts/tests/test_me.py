"""GET /auth/me."""

from conftest import Api, Person


def test_me_is_id_and_email(alice: Person) -> None:
    answer = alice.get("auth/me")
    assert answer.status_code == 200
    assert answer.json() == {"id": alice.id, "email": alice.email}


def test_me_without_a_token_is_401(anonymous: Api) -> None:
    answer = anonymous.get("auth/me")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {
        "detail": "Not authenticated",
        "code": "not_authenticated",
        "request_id": answer.headers["X-Request-ID"],
    }
