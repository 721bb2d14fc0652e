"""Helpers for the tests of conversations in the admin: the URLs of the pages, and their contents."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import httpx2
from django.db import connection

from accounts.models import AuditEvent
from accounts.tests.staff import Staff
from conftest import Person

READ = AuditEvent.Event.TRANSCRIPT_READ
LIST = "conversations/conversation/"
ABSENT = "0123456789abcdef01234567"

# One path segment each; the client would resolve dots itself.
HOSTILE_IDS = [
    ABSENT,
    ABSENT.upper()[:-1] + "A",
    "add",
    "1",
    "a" * 1500,
    "%00",
    "%0A" + ABSENT,
    ABSENT + "%0A",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%7B%22$gt%22:%22%22%7D",
    "'%20OR%201=1--",
    "<script>alert(1)<%2Fscript>",
    "%F0%9F%98%80",
    "%FF%FE",
]


def metadata(conversation_id: str) -> str:
    return f"{LIST}{conversation_id}/"


def transcript(conversation_id: str) -> str:
    return f"{LIST}{conversation_id}/transcript/"


def readings(conversation_id: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(event=READ, details__conversation=conversation_id).order_by("id"))


def secret_conversation(person: Person) -> tuple[str, list[str]]:
    """A conversation with text in every field that can have text: its id, and the texts."""
    title, instruction, said = (f"{name} {uuid.uuid4().hex}" for name in ("title", "instruction", "said"))
    conversation = person.new_conversation(title=title, system_instruction=instruction)
    answer = person.say(conversation, said)
    assert answer.status_code == 200, answer.text
    return conversation, [title, instruction, said, answer.json()["model_message"]["content"]]


def listed(staff: Staff, **query: str) -> list[str]:
    answer: httpx2.Response = staff.get(LIST, params=query)
    assert answer.status_code == 200, answer.text
    return conversation_ids(answer.text)


def conversation_ids(page: str) -> list[str]:
    return re.findall(rf'href="/admin/{LIST}([0-9a-f]{{24}})/"', page)


def cells(page: str) -> dict[str, str]:
    """The table of names and values of a metadata page."""
    found = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td\b[^>]*>(.*?)</td>", page, re.DOTALL)]
    return dict(zip(found[::2], found[1::2], strict=True))


@contextmanager
def audit_refused(actor_id: int) -> Iterator[None]:
    """PostgreSQL refuses the audit rows of this user's readings, and of no other user's."""
    name = f"refuse_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER {name} BEFORE INSERT ON accounts_auditevent FOR EACH ROW "
            f"WHEN (NEW.actor_id = {actor_id} AND NEW.event = '{READ}') EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            cursor.execute(f"DROP TRIGGER {name} ON accounts_auditevent")
            cursor.execute(f"DROP FUNCTION {name}()")


class Words(HTMLParser):
    """The users' texts on a transcript page: the text of each element for users' text, in order."""

    @classmethod
    def of(cls, page: str) -> list[str]:
        reader = cls()
        reader.feed(page)
        return reader.texts

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "transcript-text" in (dict(attrs).get("class") or ""):
            self.texts.append("")
            self._inside = True

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


class Tags(HTMLParser):
    """Every element of a page: its tag and, for elements with users' text, its class."""

    @classmethod
    def of(cls, page: str) -> set[str]:
        reader = cls()
        reader.feed(page)
        return reader.tags

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(f"{tag}.transcript-text" if values.get("class") == "transcript-text" else tag)
