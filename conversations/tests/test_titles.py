"""Generated titles of conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import regex

from conftest import Person
from conversations.prompt.titles import title_of_question
from conversations.tests.events import EVENT_STREAM, read_events
from usage.models import LedgerEntry

Eventually = Callable[..., Any]
ModelCalls = Callable[[str], list[dict[str, Any]]]


def title_of(person: Person, conversation: str) -> str | None:
    title: str | None = person.get(f"chat/conversations/{conversation}").json()["title"]
    return title


def purposes(person: Person) -> list[str]:
    settled = LedgerEntry.objects.filter(user_id=person.id, settled_at__isnull=False)
    return sorted(settled.values_list("purpose", flat=True))


def test_the_first_reply_gives_a_title_at_once_and_then_the_models(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    assert title_of(alice, conversation) is None
    alice.say(conversation, "  Where do \n storks winter?  ")
    # The scripted model echoes, so its title for the answer starts with another "Echo: ".
    assert title_of(alice, conversation) in ("Where do storks winter?", "Echo: Echo: Where do storks winter?")
    assert eventually(lambda: title_of(alice, conversation) == "Echo: Echo: Where do storks winter?")
    assert eventually(lambda: purposes(alice) == ["chat", "title"])


def test_the_title_is_provisional_while_the_model_is_asked_for_one(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    # The answer is a directive, so the model's call for the title is slow.
    alice.say(conversation, "[[say=%5B%5Bdelay=20%5D%5D later]]Storks and [[chunks=1]]cranes")
    assert eventually(lambda: LedgerEntry.objects.filter(user_id=alice.id, purpose="title").exists())
    assert title_of(alice, conversation) == "[[say=%5B%5Bdelay=20%5D%5D later]]Storks and [[chunks=1]]cranes"


def test_the_title_is_of_the_question_and_the_answer_in_32_tokens(
    alice: Person, model_calls: ModelCalls, eventually: Eventually
) -> None:
    conversation = alice.new_conversation()
    marker = f"title-{conversation}"
    alice.say(conversation, f"[[chunks=2]][[thoughts=9]]{marker}")
    calls = eventually(lambda: found if len(found := model_calls(marker)) == 2 else None)
    texts = [f"[[chunks=2]][[thoughts=9]]{marker}", f"Echo: {marker}"]
    assert calls[1]["contents"] == [{"parts": [{"text": text}], "role": "user"} for text in texts]
    assert calls[1]["generation_config"]["maxOutputTokens"] == 32
    assert calls[1]["thoughts_tokens"] == 0
    assert eventually(lambda: title_of(alice, conversation) == f"Echo: Echo: {marker}")


def test_a_title_of_the_users_own_is_kept(alice: Person) -> None:
    conversation = alice.new_conversation(title="Mine")
    alice.say(conversation, "hello")
    assert title_of(alice, conversation) == "Mine"
    assert purposes(alice) == ["chat"]


def test_a_title_given_while_the_first_reply_runs_is_kept(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/messages"
    body = {"content": "[[chunks=3]][[gap=0.2]]one two three"}
    with alice.stream("POST", path, json=body, headers=EVENT_STREAM) as answer:
        events = read_events(answer.iter_lines())
        next(events)
        next(events)
        alice.patch(f"chat/conversations/{conversation}", json={"title": "Mine"})
        assert list(events)[-1]["event"] == "done"
    eventually(lambda: purposes(alice) == ["chat", "title"])
    assert title_of(alice, conversation) == "Mine"


def test_a_failed_reply_gives_no_title_and_the_next_one_does(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    assert alice.say(conversation, "[[status=500]]broken").status_code == 503
    assert title_of(alice, conversation) is None
    assert alice.say(conversation, "works").status_code == 200
    assert eventually(lambda: title_of(alice, conversation) == "Echo: Echo: works")
    assert eventually(lambda: purposes(alice) == ["chat", "chat", "title"])


def test_only_the_first_reply_asks_for_a_title(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "first")
    eventually(lambda: title_of(alice, conversation) == "Echo: Echo: first")
    alice.say(conversation, "second")
    assert title_of(alice, conversation) == "Echo: Echo: first"
    assert purposes(alice) == ["chat", "chat", "title"]


def test_a_long_first_message_is_shortened_at_a_word(alice: Person) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "[[empty=1]]" + "wonder " * 30)
    title = title_of(alice, conversation)
    assert title == "[[empty=1]]" + "wonder " * 8 + "wonder…"
    assert len(title) <= 80


def test_the_models_title_is_told_without_the_marks_around_it(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    # The answer is a directive for the call that generates the title.
    answer = f"[[say={quote('## Title: **C# and F#**')}]]sharp"
    alice.say(conversation, f"[[say={quote(answer)}]]# Which of them?")
    assert eventually(lambda: title_of(alice, conversation) == "C# and F#")


def test_a_long_first_message_is_shortened_between_characters(alice: Person) -> None:
    for character in ("👩‍👩‍👧", "🇩🇪", "e\u0301"):
        conversation = alice.new_conversation()
        alice.say(conversation, "[[empty=1]]" + character * 60)
        title = title_of(alice, conversation) or ""
        assert set(regex.findall(r"\X", title.removeprefix("[[empty=1]]"))) == {character, "…"}


@pytest.mark.parametrize("answer", ["word " * 33, "long" * 21, "two\n\n" * 25])
def test_what_is_longer_than_a_title_is_dropped(alice: Person, eventually: Eventually, answer: str) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, f"[[say={quote(f'[[say={quote(answer)}]]')}]]A question of mine")
    eventually(lambda: purposes(alice) == ["chat", "title"])
    asked = alice.messages(conversation)["messages"][0]["content"]
    assert title_of(alice, conversation) == title_of_question(asked)


def test_a_local_model_is_not_asked_for_a_title(alice: Person, eventually: Eventually) -> None:
    conversation = alice.new_conversation()
    alice.say(conversation, "[[version=local-tiny]]Where do storks winter?")
    other = alice.new_conversation()
    alice.say(other, "cranes")
    assert eventually(lambda: title_of(alice, other) == "Echo: Echo: cranes")
    assert title_of(alice, conversation) == "[[version=local-tiny]]Where do storks winter?"
    assert purposes(alice) == ["chat", "chat", "title"]
