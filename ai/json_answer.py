"""Reading the JSON that a model was asked for, as models write it: with a fence or words around it, or cut short."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCED = re.compile(r"```[A-Za-z0-9]*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_BEGINNING = re.compile(r"\[(?=\s*[\[{\]])|\{")
_GAP = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()
# Each takes a look at all that may follow, of a megabyte.
MAX_LEFT_OUT = 30


def read_list(answer: str) -> list[Any] | None:
    """The values of the list that an answer holds, or of the only list in an object that it holds; None: there is none.

    Of a list that breaks off, or that is not all JSON, those that are.
    """
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        value = _read_within(answer)
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list)]
        return lists[0] if len(lists) == 1 else None
    return value if isinstance(value, list) else None


def _read_within(answer: str) -> Any:
    fenced = _FENCED.search(answer)
    text = fenced[1] if fenced else answer
    beginning = _BEGINNING.search(text)
    if beginning is None:
        return None
    try:
        return _DECODER.raw_decode(text, beginning.start())[0]
    except (ValueError, RecursionError):
        # A wrapping object that breaks off has its list in it.
        opened = text.find("[", beginning.start())
        return (_read_values(text, opened + 1) or None) if opened >= 0 else None


def _read_values(text: str, position: int) -> list[Any]:
    values: list[Any] = []
    left_out = 0
    while left_out < MAX_LEFT_OUT:
        position = _GAP.match(text, position).end()  # type: ignore[union-attr]  # it matches nothing too
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            left_out += 1
            position = text.find("{", position + 1)
            if position < 0:
                break
        else:
            values.append(value)
    return values
