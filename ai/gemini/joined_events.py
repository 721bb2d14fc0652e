"""Joins events of an answer that have arrived together: the SDK needs as long for each event as for a hundred words."""

from __future__ import annotations

from typing import Any

import msgspec

# Gemini ends each event like this. Events that end otherwise are not joined.
END = b"\r\n\r\n"
_DATA = b"data: "


class _Strict(msgspec.Struct, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """An event with a field that is not listed here is not joined."""


class _Part(_Strict):
    text: str


class _Content(_Strict):
    parts: tuple[_Part]
    role: str = ""


class _Candidate(_Strict):
    content: _Content
    index: int = 0
    finish_reason: str = ""


class _Event(_Strict):
    candidates: tuple[_Candidate]
    usage_metadata: dict[str, Any] | None = None
    model_version: str = ""
    response_id: str = ""

    def may_precede(self, later: _Event) -> bool:
        """Whether nothing but this event's text is lost if only the later event is read. Its counts include this one's.

        Both are about the first candidate.
        """
        candidate = self.candidates[0]
        return (
            not candidate.finish_reason
            and candidate.index == later.candidates[0].index == 0
            and (self.usage_metadata is None or later.usage_metadata is not None)
            and self.model_version in ("", later.model_version)
        )


_decoder = msgspec.json.Decoder(_Event)


def join_events(data: bytes) -> bytes:
    """The same answer in fewer events: successive ones that only add text become one, the last one with all their text.

    Everything else stays as it is, also the parts of an event at the beginning and at the end of `data`.
    """
    if data.count(END) < 2:
        return data
    *events, rest = data.split(END)
    joined: list[bytes] = []
    before: _Event | None = None
    for raw in events:
        event = _text_event(raw)
        if event is not None and before is not None and before.may_precede(event):
            part = event.candidates[0].content.parts[0]
            part.text = before.candidates[0].content.parts[0].text + part.text
            joined[-1] = _DATA + msgspec.json.encode(event)
        else:
            joined.append(raw)
        before = event
    return END.join([*joined, rest])


def _text_event(raw: bytes) -> _Event | None:
    try:
        return _decoder.decode(raw.removeprefix(_DATA)) if raw.startswith(_DATA) else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
