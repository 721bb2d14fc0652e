"""The Kotlin file of the client guide compiles against OkHttp, and holds a conversation.

`make kotlin-test` runs this, because it needs Java.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from conftest import Person
from edgechat.local.kotlin import run_kotlin

HERE = Path(__file__).parent
GUIDE = HERE.parents[2] / "docs" / "clients" / "EdgeChat.kt"


def test_the_kotlin_file_of_the_guide_holds_a_conversation(alice: Person, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 48), "red").save(picture)
    given = (f"{alice.origin}/api/v1/", alice.email, alice.password, str(picture))
    told = run_kotlin([GUIDE, HERE / "conversation.kt"], "ConversationKt", *given, folder=tmp_path)
    assert told.splitlines() == [
        "Echo: Hello",
        "Echo: Hello",
        "true Echo: one two three",
        "complete",
        "not_found",
        "[1, 2, 3, 4, 5, 6]",
        "token_revoked 1",
    ]
