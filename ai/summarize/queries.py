"""The sources of summaries: a text, a web page, a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ai.fetch_url import fetch_page
from ai.serializers import SourceOutput
from ai.summarize.text_parts import count_words, has_words
from edgechat.errors import Invalid, TooLarge
from edgechat.sandbox.job_limit import working_for

MAX_CONVERSATION_CHARACTERS = 5_000_000


@dataclass(frozen=True)
class Source:
    """`text` is the whole source; `words` counts its words, without the speakers' names of a conversation."""

    kind: Literal["text", "url", "conversation"]
    text: str
    words: int
    url: str | None = None
    title: str | None = None
    organization_id: int | None = None

    def as_body(self) -> SourceOutput:
        body = SourceOutput(kind=self.kind, words=self.words)
        if self.url:
            body["url"] = self.url
        if self.title:
            body["title"] = self.title
        return body


@dataclass(frozen=True)
class Transcript:
    """A conversation; `messages` are pairs of speaker and text, oldest first, read lazily."""

    title: str | None
    organization_id: int | None
    messages: Iterator[tuple[str, str]]


ConversationReader = Callable[[int, str], Transcript]
_readers: list[ConversationReader] = []


def register_conversation_reader(read: ConversationReader) -> None:
    """Register `read(user_id, conversation_id)`. It returns a conversation of the user, or raises NotFound."""
    _readers.append(read)


def read_source(
    *, user_id: int, text: str | None = None, url: str | None = None, conversation_id: str | None = None
) -> Source:
    """The one source that is given.

    Raises Invalid for a source without words and for a page that cannot be fetched, NotFound, and TooLarge for a
    conversation of more than MAX_CONVERSATION_CHARACTERS.
    """
    if conversation_id is not None:
        return _conversation(user_id, conversation_id)
    if url is not None:
        with working_for(user_id):
            page = fetch_page(url)
        _require_words(page.text, "body.url", "This page has no text.")
        return Source("url", page.text, count_words(page.text), url=page.url, title=page.title)
    _require_words(text or "", "body.text", "This text has no words.")
    return Source("text", text or "", count_words(text or ""))


def _conversation(user_id: int, conversation_id: str) -> Source:
    transcript = _readers[0](user_id, conversation_id)
    lines: list[str] = []
    characters = words = 0
    for speaker, content in transcript.messages:
        lines.append(f"{speaker}: {content}")
        characters += len(content)
        words += count_words(content)
        if characters > MAX_CONVERSATION_CHARACTERS:
            raise TooLarge(f"A conversation of more than {MAX_CONVERSATION_CHARACTERS} characters can't be summarized")
    if not words:
        raise Invalid({"body.conversation_id": "This conversation is empty."})
    return Source(
        "conversation",
        "\n\n".join(lines),
        words,
        title=transcript.title,
        organization_id=transcript.organization_id,
    )


def _require_words(text: str, field: str, message: str) -> None:
    if not has_words(text):
        raise Invalid({field: message})
