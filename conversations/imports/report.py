"""What an import tells its user: counts, and a bounded number of sentences about what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_LINES, MAX_TITLE_CHARACTERS = 100, 80

# Parts of imported conversations, by the keys in a header's `notes`: the sentences for one and for several.
NOTES = {
    "picture": (
        "{} picture is a placeholder, because the file does not contain it.",
        "{} pictures are placeholders, because the file does not contain them.",
    ),
    "file": (
        "{} attached file is a placeholder, because the file does not contain its text.",
        "{} attached files are placeholders, because the file does not contain their text.",
    ),
    "sound": (
        "{} recording was left out; its transcript is here.",
        "{} recordings were left out; their transcripts are here.",
    ),
    "tool": (
        "{} call of a tool or its result was left out.",
        "{} calls of tools and their results were left out.",
    ),
    "thoughts": ("{} thought of the model was left out.", "{} thoughts of the model were left out."),
    "hidden": (
        "{} message was left out, because the source does not show it either.",
        "{} messages were left out, because the source does not show them either.",
    ),
    "branch": (
        "{} message was left out, because it is not on the current branch of its conversation.",
        "{} messages were left out, because they are not on the current branch of their conversation.",
    ),
    "other": (
        "{} part of a kind that does not exist here was left out.",
        "{} parts of a kind that does not exist here were left out.",
    ),
    "cut": (
        "{} message was cut, because it is longer than a message may be here.",
        "{} messages were cut, because they are longer than a message may be here.",
    ),
    "instruction_cut": (
        "{} system instruction was cut, because it is longer than one may be here.",
        "{} system instructions were cut, because they are longer than one may be here.",
    ),
}
PRESENT = (
    "{} conversation is here from an earlier import, and was not changed.",
    "{} conversations are here from an earlier import, and were not changed.",
)
MORE = ("{} more conversation was left out.", "{} more conversations were left out.")
# Whole conversations.
REASONS = {
    "empty": "it has no text on its current branch",
    "loop": "its messages refer to each other in a circle",
    "too_large": "it has more than 32 million characters or a million values",
    "too_deep": "it is nested more than 100 levels deep",
    "not_a_conversation": "it is not a conversation of the source",
    "account_full": "the account has as many conversations as it may have",
    "quota": "the account has imported as much text as it may within 30 days",
    "another_user": "it belongs to another user of the older backend",
}
BROKEN = {
    "not_json": "The file is damaged or incomplete from here on: it is not valid JSON in UTF-8.",
    "not_zip": "The .zip file is damaged, encrypted or compressed in an unknown way.",
    "nothing_zipped": "The .zip file contains no conversations.json.",
    "too_much_unpacked": "The .zip file is too large once it is unpacked: at most 2 GB and 1000 conversation files.",
    "too_many_entries": "The file has more than 100,000 conversations; the rest was left out.",
    "too_much_memory": "The file has a value that is too large to be read.",
    "process": "Reading the file took too much memory or time, and was ended.",
    "attempts": "The import was interrupted too often.",
    "command": "The command that ran this import was ended. Run it again to go on.",
    "fault": "The import failed because of a fault here.",
    "gone": "The file of the import is gone.",
}


@dataclass(kw_only=True)
class Tally:
    """The counts of an import, and what its report says."""

    conversations: int = 0
    messages: int = 0
    text_bytes: int = 0
    skipped: int = 0
    present: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)
    broken: str = ""

    def note(self, notes: Mapping[str, int]) -> None:
        self.notes.update({name: count for name, count in notes.items() if name in NOTES})

    def leave_out(self, title: str | None, reason: str) -> None:
        """Count a conversation that is not imported, for a key of REASONS."""
        self.skipped += 1
        if len(self.left_out) < MAX_LINES:
            name = f"“{title[:MAX_TITLE_CHARACTERS]}”" if title else "A conversation without a title"
            self.left_out.append(f"{name} was left out: {REASONS.get(reason, REASONS['not_a_conversation'])}.")

    def lines(self) -> list[str]:
        """At most about 120 sentences of a few hundred characters."""
        lines = [BROKEN[self.broken]] if self.broken else []
        if self.present:
            lines.append(_counted(PRESENT, self.present))
        lines += [_counted(sentences, self.notes[name]) for name, sentences in NOTES.items() if self.notes[name]]
        lines += self.left_out
        more = self.skipped - self.present - len(self.left_out)
        if more > 0:
            lines.append(_counted(MORE, more))
        return lines


def _counted(sentences: tuple[str, str], count: int) -> str:
    return sentences[count != 1].format(count)
