"""What the reading process tells: checked by the web process, because a hostile file may control the reader.

A `header` is followed by `pieces` lists of messages, whose roles alternate: the user's, the model's, and so on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

# Bytes of one list of messages, unless a single message is longer.
PIECE_BYTES = 256 * 1024
# Seconds since 1970: the years 2000 to 2100.
EARLIEST, LATEST = 946_684_800.0, 4_102_444_800.0

Text = Annotated[str, Meta(max_length=1_000_000)]
Moment = Annotated[float, Meta(ge=EARLIEST, le=LATEST)]
Count = Annotated[int, Meta(ge=0, le=2**40)]


class Message(Struct):
    content: Text
    created_at: Moment | None
    status: Literal["complete", "stopped", "interrupted"]
    finish_reason: Literal["STOP", "MAX_TOKENS"] | None


class Header(Struct):
    """`source_id` is the source's id; `owner` the older backend's id of the user, None if the source has none.

    `notes` counts the parts that were left out or changed, by the keys of `conversations.imports.report`.
    """

    source: Literal["chatgpt", "claude", "edgechat"]
    source_id: Annotated[str, Meta(min_length=1, max_length=100)]
    owner: Annotated[str, Meta(max_length=100)] | None
    title: Annotated[str, Meta(max_length=1000)] | None
    system_instruction: Text | None
    pinned: bool
    archived: bool
    created_at: Moment | None
    updated_at: Moment | None
    messages: Annotated[int, Meta(ge=2, le=1_000_000)]
    pieces: Annotated[int, Meta(ge=1, le=1_000_000)]
    notes: dict[str, Count]


class LeftOut(Struct):
    """A conversation of the file that cannot be imported; `reason` is a key of `conversations.imports.report`."""

    title: Annotated[str, Meta(max_length=1000)] | None
    reason: Annotated[str, Meta(max_length=40)]
    notes: dict[str, Count]
