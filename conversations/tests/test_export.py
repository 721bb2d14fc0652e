"""GET /chat/conversations/{id}/export."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import lxml.html
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from conftest import Person
from conversations.sync.markdown import closed
from conversations.tests.stored_messages import store_messages
from conversations.transcript_repository import collections

TEXTS = ['Hello 😀 "quoted" \\ back', "## A heading\n\n```\ncode\n```", "[[empty=1]]"]


@pytest.fixture
def conversation(alice: Person) -> str:
    conversation = alice.new_conversation(title="Plans / 😀", system_instruction="Be brief.")
    for text in TEXTS:
        alice.say(conversation, text)
    return conversation


@pytest.mark.parametrize("query", [{}, {"format": "json"}])
def test_json_holds_the_conversation_and_its_messages_as_the_api_gives_them(
    alice: Person, conversation: str, query: dict[str, Any]
) -> None:
    answer = alice.get(f"chat/conversations/{conversation}/export", params=query)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{conversation}.json"'
    assert answer.json() == {
        "conversation": alice.get(f"chat/conversations/{conversation}").json(),
        "messages": alice.messages(conversation)["messages"],
    }
    assert len(answer.json()["messages"]) == 6


def test_markdown_is_for_reading(alice: Person, conversation: str) -> None:
    alice.say(conversation, "[[block=partial]]unspeakable")
    messages = alice.messages(conversation)["messages"]
    answer = alice.get(f"chat/conversations/{conversation}/export", params={"format": "markdown"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{conversation}.md"'
    expected = "# Plans / 😀\n\n> Be brief.\n"
    for message in messages:
        name = "User" if message["role"] == "user" else "Model"
        at = f"{message['created_at'][:10]} {message['created_at'][11:16]} UTC"
        status = " (blocked)" if message["seq"] == 8 else ""
        expected += f"\n## {name}, {at}{status}\n\n{message['content']}\n"
    assert answer.text == expected


def test_an_empty_untitled_conversation_can_be_exported(alice: Person) -> None:
    conversation = alice.new_conversation()
    path = f"chat/conversations/{conversation}/export"
    assert alice.get(path).json()["messages"] == []
    assert alice.get(path, params={"format": "markdown"}).text == "# Conversation\n"


def test_more_messages_than_a_page_are_exported(alice: Person) -> None:
    conversation = alice.new_conversation(title="Long")
    store_messages(alice, conversation, [f"{seq}" for seq in range(1, 103)])
    exported = alice.get(f"chat/conversations/{conversation}/export").json()["messages"]
    assert [message["seq"] for message in exported] == list(range(1, 103))


def test_an_unknown_format_is_422(alice: Person, conversation: str) -> None:
    answer = alice.get(f"chat/conversations/{conversation}/export", params={"format": "pdf"})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["query.format"])


def test_a_foreign_conversation_is_404(conversation: str, bob: Person) -> None:
    answer = bob.get(f"chat/conversations/{conversation}/export")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Conversation not found")


# Blocks that must not include later messages, and blocks that are already closed.
OPEN = [
    "```python\nprint(1)",
    "~~~~\n~~~",
    "````\n```\nstill open",
    "`````\r\ncode\r```` \r",
    "> ```\n```\n> and after it",
    "- a\nlazy\n  ```",
    "1. a\n\n   ```\n   code",
    "text\n2. no list\n   ```",
    "<!-- never closed\n\n```",
    "<!DOCTYPE html",
    "<![CDATA[ a > b",
    "<?php echo 1;",
    "<pre>\n\n```\n</PRE>\n~~~",
    "<script>\n-->\n```\n",
    "<div>\n```\n\n```",
    "\t```\n   ```",
]
CLOSED = [
    "```\n# no heading\n```",
    "~~~ `a` ~~~\n```\n~~~~",
    "``` no `fence`",
    "1. one\n   ```bash\n   ls\n   ```\n2. two\n   - ~~~\n     x\n     ~~~",
    "> ```\n> quoted",
    "- ```\n  in a list",
    "<!-- a --> b",
    "<div>\n\n```\ncode\n```\n\n</div>",
    "`a` < b & ~~c~~",
    "<div>\n<!-- a -->\n</div>",
    "line\\",
    "    ```",
]


def headings_of(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [
        "".join(child.content for child in inside.children or [])
        for opening, inside in pairwise(tokens)
        if opening.type == "heading_open" and opening.level == 0
    ]


def markdown_of(person: Person, conversation: str) -> str:
    answer = person.get(f"chat/conversations/{conversation}/export", params={"format": "markdown"})
    assert answer.status_code == 200
    return answer.text


def test_a_message_takes_nothing_of_the_next_one(alice: Person) -> None:
    for texts in ([*OPEN, *CLOSED], *([text, "end"] for text in OPEN)):
        conversation = alice.new_conversation(title="Open")
        store_messages(alice, conversation, texts)
        exported = markdown_of(alice, conversation)
        speakers = [heading.partition(",")[0] for heading in headings_of(exported)]
        assert speakers == ["Open", *(("User", "Model")[n % 2] for n in range(len(texts)))], texts
        assert all(text in exported for text in texts)


def test_a_message_that_is_closed_is_exported_as_it_is(alice: Person) -> None:
    conversation = alice.new_conversation(title="Closed")
    store_messages(alice, conversation, CLOSED)
    parts = re.split(r"\n## (?:User|Model), .* UTC\n\n", markdown_of(alice, conversation))
    assert parts[1:] == [f"{text}\n" for text in CLOSED]


@pytest.mark.parametrize(
    "title",
    [
        "a\n# b",
        "C#",
        "F #",
        "*a* _b_ `c` [d](e) <f> &amp; \\*",
        "```",
        "===",
        "- a",
        "#",
        "## ##",
        "1. a > b",
        "a\u2028b",
    ],
)
def test_a_title_is_one_heading_as_it_was_typed(alice: Person, title: str) -> None:
    conversation = alice.new_conversation(title=title)
    assert headings_of(markdown_of(alice, conversation)) == [" ".join(title.split())]


def test_every_line_of_the_instruction_is_quoted(alice: Person) -> None:
    instruction = "Be brief.\n\n# No heading\r\n```\n<!--\r- a\u2028```\u2029# b\u0085c\x0cd"
    conversation = alice.new_conversation(title="Quoted", system_instruction=instruction)
    store_messages(alice, conversation, ["hello"])
    exported = markdown_of(alice, conversation)
    assert exported.startswith(
        "# Quoted\n\n> Be brief.\n>\n> # No heading\n> ```\n> <!--\n> - a\n> ```\n> # b\n> c\n> d\n\n## User, "
    )
    assert len(headings_of(exported)) == 2


def test_pictures_are_named(alice: Person) -> None:
    conversation = alice.new_conversation(title="Pictures")
    store_messages(alice, conversation, ["```", "end"])
    picture = {"id": "0f0e", "mime_type": "image/png", "width": 640, "height": 480, "bytes": 9, "sha256": "00"}
    collections.messages().update_one({"_id": f"{conversation}:00000001"}, {"$set": {"attachments": [picture]}})
    exported = markdown_of(alice, conversation)
    assert "\n\n```\n```\n\nPicture 1: `0f0e`, image/png, 640 × 480 pixels\n\n## Model, " in exported


BITS = [
    "```",
    "````",
    "~~~",
    "  ```",
    "   ~~~",
    "\t```",
    "```py",
    "text",
    "",
    "- ",
    "- a",
    "1. a",
    "3. c",
    "> ```",
    "- ```",
]
BITS += [
    "<!--",
    "-->",
    "<?",
    "?>",
    "<![CDATA[",
    "]]>",
    "<!X",
    "<pre>",
    "</pre>",
    "<div>",
    "<b>",
    "- - -",
    "   code",
    "    - z",
]


@given(st.lists(st.sampled_from(BITS), max_size=9))
def test_what_follows_a_text_is_not_part_of_it(bits: list[str]) -> None:
    text = "\n".join(bits)
    assert headings_of(f"{closed(text)}\n\n## Next\n")[-1:] == ["Next"]


@pytest.mark.parametrize(
    "text", ["<script>\nx", "<STYLE>\n\nx", "<!-- x", "<div>\n<!-- x\n\ny", "<b>\n<i><!--", "<p><!--\n"]
)
def test_what_follows_a_text_is_seen_by_who_reads_the_html(text: str) -> None:
    html = MarkdownIt("commonmark").render(f"{closed(text)}\n\n## Next\n")
    assert lxml.html.document_fromstring(html).xpath("//h2/text()") == ["Next"]


def test_long_hostile_texts_are_closed_too() -> None:
    for text in ("".join(f"- a\nb\n  {'`' * n}\n" for n in range(3, 60)), "- a\nb\n  ```\n" * 300, "<b>\n```\n" * 300):
        assert headings_of(f"{closed(text)}\n\n## Next\n")[-1:] == ["Next"]
