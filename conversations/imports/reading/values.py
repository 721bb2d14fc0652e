"""Values of unknown types from other programs' files, as texts, times and lists of messages."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from conversations.imports.reading.frames import EARLIEST, LATEST

_SURROGATES = re.compile("[\ud800-\udfff]")
_PLAIN_ID = re.compile(r"[\w.-]{1,100}", re.ASCII)


@dataclass
class Turn:
    """A message of the source. `role` is that of the answer to come: `user` or `model`."""

    role: Literal["user", "model"]
    text: str
    at: float | None = None
    status: str = "complete"
    finish_reason: str | None = "STOP"


@dataclass
class Conversation:
    """A conversation of the source. `notes` counts what was left out or changed."""

    source_id: str
    title: str | None = None
    owner: str | None = None
    system: list[str] = field(default_factory=list)
    pinned: bool = False
    archived: bool = False
    created_at: float | None = None
    updated_at: float | None = None
    turns: list[Turn] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


class NotImported(Exception):
    """A conversation that cannot be imported; the argument is the reason."""


def clean(value: Any) -> str:
    """A text without what the stores and JSON cannot hold, an empty one for another type."""
    if not isinstance(value, str):
        return ""
    if not value.isascii():
        value = _SURROGATES.sub("\ufffd", value)
    text: str = value
    return text.replace("\0", "\ufffd")


def words(value: Any) -> str:
    """A text without white space around it."""
    return clean(value).strip()


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def identity(value: Any, whole: Any) -> str:
    """The source's id; for a missing one the hash of the whole conversation, so that it is the same again."""
    value = mapping(value).get("$oid", value)
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if _PLAIN_ID.fullmatch(text):
        return text
    told = text or json.dumps(whole, sort_keys=True)
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()


def moment(value: Any) -> float | None:
    """Seconds since 1970 from a number (seconds or milliseconds), an ISO 8601 text or MongoDB's extended JSON."""
    if isinstance(value, dict):
        value = value.get("$date", value.get("$numberLong", value.get("$numberDouble")))
        return moment(value)
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    if not math.isfinite(seconds):
        return None
    if seconds > LATEST:
        seconds /= 1000
    return seconds if EARLIEST <= seconds <= LATEST else None


def _from_text(text: str) -> float | None:
    if len(text) > 40:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def branch(nodes: Mapping[str, Any], leaf: Any, parent_of: str, created_of: Any) -> list[str]:
    """The ids from the root to `leaf`; without a valid leaf, to the newest node that is nobody's parent.

    Raises NotImported for a loop.
    """
    if not isinstance(leaf, str) or leaf not in nodes:
        parents = {parent for node in nodes.values() if isinstance(parent := mapping(node).get(parent_of), str)}
        leaves = [name for name in nodes if name not in parents]
        if nodes and not leaves:
            raise NotImported("loop")
        # The last one in the file among those without a time.
        order = {name: number for number, name in enumerate(leaves)}
        leaf = max(leaves, key=lambda name: (created_of(nodes[name]) or 0.0, order[name]), default=None)
    path: list[str] = []
    seen: set[str] = set()
    while isinstance(leaf, str) and leaf in nodes:
        if leaf in seen:
            raise NotImported("loop")
        seen.add(leaf)
        path.append(leaf)
        leaf = mapping(nodes[leaf]).get(parent_of)
    return path[::-1]


def joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text)


def picture(part: Mapping[str, Any] | None = None) -> str:
    """The placeholder of a picture, whose file is not imported."""
    width, height = (mapping(part).get(name) for name in ("width", "height"))
    if isinstance(width, int) and isinstance(height, int) and 0 < width < 10**6 and 0 < height < 10**6:
        return f"[Picture: {width} × {height}]"
    return "[Picture]"


def named_file(name: Any) -> str:
    """The placeholder of a file."""
    known = " ".join(words(name).split())[:200]
    return f"[File: {known}]" if known else "[File]"
