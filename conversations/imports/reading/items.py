"""The entries of a JSON file, one at a time: of an array, of JSON lines, or a single object."""

from __future__ import annotations

import decimal
import sys
from collections.abc import Iterator
from typing import IO, Any

import ijson

from conversations.imports.reading.escapes import MendedEscapes

# Of one entry. Its values are in memory together.
MAX_CHARACTERS, MAX_VALUES, MAX_DEPTH = 32_000_000, 1_000_000, 100
# Of a number. The time that Python takes to read one grows with the square of its digits: a million take 4 s.
MAX_DIGITS = 10_000
# The parser reads a text again from its beginning with each part of the file, so the parts of a long text grow.
PART_BYTES, MAX_PART_BYTES = 64 * 1024, 16 * 1024**2


class Refused(Exception):
    """An entry that is too large or too deep; the argument says which."""


class BrokenFile(Exception):
    """The rest of the file cannot be read; the argument says why."""


def accept_long_numbers() -> None:
    """Let this process and thread read numbers of up to MAX_DIGITS, and with any exponent."""
    sys.set_int_max_str_digits(MAX_DIGITS)
    decimal.getcontext().traps[decimal.InvalidOperation] = False


def read_items(file: IO[bytes]) -> Iterator[Any | Refused]:
    """Each entry, or why it is refused; a refused one is read on, but not kept. Raises BrokenFile."""
    in_array = False
    entry: _Entry | None = None
    for event, value in _events(file):
        if entry is None:
            if event == "start_array" and not in_array:
                in_array = True
                continue
            if event == "end_array":
                in_array = False
                continue
            entry = _Entry()
        if entry.add(event, value):
            yield entry.result()
            entry = None


def _events(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The events of ijson in a time in proportion to the file, also those before a fault. Raises BrokenFile."""
    events = ijson.sendable_list()
    # Without `use_float`, which ends the file at a number that does not fit into 64 bits.
    parser = ijson.basic_parse_coro(events, multiple_values=True)
    mended = MendedEscapes(file)
    size = PART_BYTES
    part = mended.read(size)
    while True:
        fault: Exception | None = None
        reason = "not_json"
        try:
            parser.send(part) if part else parser.close()
        except (ijson.JSONError, ValueError) as error:
            fault = error
        except SystemError as error:  # a number has more than MAX_DIGITS
            fault, reason = error, "too_much_memory"
            # ijson has appended it without a value, and reading that would crash the process.
            del events[-1]
        size = PART_BYTES if events else min(2 * size, MAX_PART_BYTES)
        yield from events
        events.clear()
        if fault is not None:
            raise BrokenFile(reason) from fault
        if not part:
            return
        part = mended.read(size)


class _Entry:
    def __init__(self) -> None:
        self._depth = 0
        self._characters = self._values = 0
        self._refused: Refused | None = None
        self._root: list[Any] = []
        self._containers: list[Any] = [self._root]
        self._keys: list[str] = []

    def add(self, event: str, value: Any) -> bool:
        """Whether the entry is complete with this event of ijson."""
        if event == "map_key":
            self._count(len(value))
            if self._refused is None:
                self._keys[-1] = value
            return False
        if event.startswith("start"):
            self._depth += 1
            if self._depth > MAX_DEPTH:
                self._refuse("too_deep")
            self._open({} if event == "start_map" else [])
        elif event.startswith("end"):
            self._depth -= 1
            if self._refused is None:
                self._containers.pop()
                self._keys.pop()
        else:
            self._count(len(value) if isinstance(value, str) else 0)
            if self._refused is None:
                self._put(float(value) if isinstance(value, decimal.Decimal) else value)
        return self._depth == 0

    def result(self) -> Any | Refused:
        return self._refused or self._root[0]

    def _open(self, container: Any) -> None:
        self._count(0)
        if self._refused is None:
            self._put(container)
            self._containers.append(container)
            self._keys.append("")

    def _put(self, value: Any) -> None:
        container = self._containers[-1]
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)

    def _count(self, characters: int) -> None:
        self._characters += characters
        self._values += 1
        if self._characters > MAX_CHARACTERS or self._values > MAX_VALUES:
            self._refuse("too_large")

    def _refuse(self, reason: str) -> None:
        if self._refused is None:
            self._refused = Refused(reason)
            self._root, self._containers, self._keys = [], [], []
