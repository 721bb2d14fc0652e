"""Reads the rows of a file of users one at a time, and checks and rejects each row by itself."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from accounts.login.password_hashers import stored_form

# Every JSON reader is exact up to this number, and the sequence of ids has a thousand times more room.
MAX_ID = 2**53
REQUIRED = ("email", "hashed_password")


@dataclass(frozen=True)
class ImportedUser:
    """A user to import. `password` is in the stored form; `id` and `created_at` are None if the file has none."""

    line: int
    id: int | None
    email: str
    password: str
    full_name: str
    is_staff: bool
    is_active: bool
    created_at: datetime | None


@dataclass(frozen=True)
class Refused:
    line: int
    reason: str


class MissingColumns(Exception):
    """The first line of a CSV file lacks required columns."""


class _Row(serializers.Serializer[Any]):
    id = serializers.IntegerField(min_value=1, max_value=MAX_ID, required=False)
    email = serializers.EmailField(max_length=254)
    hashed_password = serializers.CharField(max_length=300)
    full_name = serializers.CharField(max_length=255, allow_blank=True, default="")
    role = serializers.ChoiceField(choices=["user", "admin"], default="user")
    is_active = serializers.BooleanField(default=True)
    created_at = serializers.DateTimeField(default_timezone=UTC, required=False)

    def validate_hashed_password(self, value: str) -> str:
        stored = stored_form(value)
        if stored is None:
            raise serializers.ValidationError("neither bcrypt nor Argon2id, or one that takes too long to check")
        return stored


def read_csv(lines: Iterable[bytes]) -> Iterator[ImportedUser | Refused]:
    """The rows of a CSV file in UTF-8 whose first line names the columns. Raises MissingColumns."""
    reader = csv.reader(_decoded(lines))
    names = [name.strip() for name in next(reader, [])]
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise MissingColumns(", ".join(missing))
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Refused(reader.line_num, str(error))
            continue
        if len(cells) > len(names):
            yield Refused(reader.line_num, "more cells than columns")
        elif cells:
            yield _checked(reader.line_num, dict(zip(names, cells, strict=False)))


def read_ndjson(lines: Iterable[bytes]) -> Iterator[ImportedUser | Refused]:
    """The rows of a file with one JSON object per line. Empty lines are skipped."""
    for number, line in enumerate(_decoded(lines), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield _checked(number, row) if isinstance(row, dict) else Refused(number, "not a JSON object")


READERS: dict[str, Callable[[Iterable[bytes]], Iterator[ImportedUser | Refused]]] = {
    ".csv": read_csv,
    ".ndjson": read_ndjson,
    ".jsonl": read_ndjson,
}


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """The decoded lines. A byte that is not UTF-8 becomes a lone surrogate, which every field rejects."""
    for number, line in enumerate(lines):
        yield line.decode("utf-8-sig" if number == 0 else "utf-8", errors="surrogateescape")


def _checked(line: int, row: Mapping[str, Any]) -> ImportedUser | Refused:
    # CSV writes null as an empty value, and dumps write a missing value as null.
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    checked = _Row(data=given)
    try:
        valid = checked.is_valid()
    except ValueError:
        return Refused(line, "a value that is none")
    if not valid:
        reasons = [f"{name}: {' '.join(map(str, found))}" for name, found in checked.errors.items()]
        return Refused(line, "; ".join(reasons).encode(errors="replace").decode())
    data = checked.validated_data
    return ImportedUser(
        line=line,
        id=data.get("id"),
        email=data["email"],
        password=data["hashed_password"],
        full_name=data["full_name"],
        is_staff=data["role"] == "admin",
        is_active=data["is_active"],
        created_at=data.get("created_at"),
    )
