"""GET /ai/models."""

from __future__ import annotations

from conftest import Person


def test_the_models_are_listed_with_their_limits(alice: Person) -> None:
    answer = alice.get("ai/models")
    assert answer.status_code == 200
    assert answer.json() == {
        "models": [
            {
                "name": "local-scripted",
                "input_token_limit": 1_048_576,
                "output_token_limit": 65_536,
                "vision": True,
            }
        ]
    }
    assert alice.get("ai/models/").json() == answer.json()
