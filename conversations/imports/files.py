"""The files of imports that are not finished, in a folder of Django's default storage."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import IO

from django.core.files.base import File
from django.core.files.storage import default_storage

from conversations.storage import storage_call
from edgechat.processes.threads import Pauses

FOLDER = "imports"
_OWN_NAME = re.compile(r"[0-9a-f]{32}")


class _PausingFile(File):  # type: ignore[type-arg]  # generic for mypy only
    """Copying a large file to a disk never waits, so other requests run here between its parts."""

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        pauses = Pauses()
        for chunk in super().chunks(chunk_size):
            yield chunk
            pauses.pause()


def _name(import_id: uuid.UUID) -> str:
    return f"{FOLDER}/{import_id.hex}"


@storage_call
def save_file(import_id: uuid.UUID, file: IO[bytes]) -> None:
    default_storage.save(_name(import_id), _PausingFile(file))


@storage_call
def open_file(import_id: uuid.UUID) -> IO[bytes]:
    """Raises FileNotFoundError and StoreUnavailable."""
    return default_storage.open(_name(import_id))


@storage_call
def delete_file(import_id: uuid.UUID) -> None:
    default_storage.delete(_name(import_id))


@storage_call
def stored_files(*, saved_before: datetime) -> list[uuid.UUID]:
    """The imports of all stored files that are older than `saved_before`."""
    try:
        names = default_storage.listdir(FOLDER)[1]
    except FileNotFoundError:
        return []
    return [
        uuid.UUID(hex=name)
        for name in names
        if _OWN_NAME.fullmatch(name) and default_storage.get_modified_time(f"{FOLDER}/{name}") < saved_before
    ]
