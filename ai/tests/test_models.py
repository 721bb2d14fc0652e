"""GET /ai/models."""

from __future__ import annotations

from conftest import Api, Person


def test_the_models_are_listed(alice: Person) -> None:
    answer = alice.get("ai/models")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "models": [
                {
                    "name": "local-scripted",
                    "input_token_limit": 1_048_576,
                    "output_token_limit": 65_536,
                    "vision": True,
                }
            ]
        },
    )


def test_a_token_is_needed(anonymous: Api) -> None:
    answer = anonymous.get("ai/models")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
