"""Parses JSON from a model's answer, which may have a code fence or text around it, or may be cut short."""

from __future__ import annotations

import json
import re
from typing import Any

_BEGINNING = re.compile(r"\[(?=\s*[\[{\]])|\{")
_DECODER = json.JSONDecoder()
# Bounds the work: each attempt may scan the rest of the answer, up to a megabyte.
MAX_LEFT_OUT = 30


def read_values(answer: str) -> list[Any]:
    """The JSON values in an answer: the whole answer, or the lists and objects in its text, in order; may be empty.

    For a list or an object that is incomplete or invalid, the valid lists and objects inside it.
    """
    try:
        return [json.loads(answer)]
    except (ValueError, RecursionError):
        pass
    values: list[Any] = []
    left_out = 0
    beginning = _BEGINNING.search(answer)
    while beginning is not None and left_out < MAX_LEFT_OUT:
        position = beginning.start()
        try:
            value, position = _DECODER.raw_decode(answer, position)
        except (ValueError, RecursionError):
            left_out += 1
            position += 1
        else:
            values.append(value)
        beginning = _BEGINNING.search(answer, position)
    return values
