"""Reading the JSON that a model was asked for, as models write it: with a fence or words around it, or cut short."""

from __future__ import annotations

import json
import re
from typing import Any

_BEGINNING = re.compile(r"\[(?=\s*[\[{\]])|\{")
_DECODER = json.JSONDecoder()
# Each takes a look at all that may follow, of a megabyte.
MAX_LEFT_OUT = 30


def read_values(answer: str) -> list[Any]:
    """The JSON in an answer: all of it, or the lists and objects among other text, in order; empty: there is none.

    Of a list or an object that breaks off, or that is not all JSON, the lists and objects in it.
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
