"""The three files of an attachment, in a folder of Django's default storage that is named by its id."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import IO, Literal, ParamSpec, TypeVar, get_args

import structlog
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from ai.vision.pictures import Picture
from conversations.storage import storage_call
from edgechat.errors import NotFound

logger = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
RenderingName = Literal["stored", "model", "thumb"]
RENDERINGS: tuple[RenderingName, ...] = get_args(RenderingName)
FOLDER = "attachments"
_PNG = b"\x89PNG"


class AttachmentNotFound(NotFound):
    detail = "Attachment not found"


def _storage_call(function: Callable[P, T]) -> Callable[P, T]:
    """`storage_call` with AttachmentNotFound in place of FileNotFoundError."""
    called = storage_call(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return called(*args, **kwargs)
        except FileNotFoundError:
            raise AttachmentNotFound from None

    return wrapped


def _name(attachment_id: uuid.UUID, rendering: str) -> str:
    # Two levels, because a folder with a million entries is slow.
    return f"{FOLDER}/{attachment_id.hex[:2]}/{attachment_id.hex}/{rendering}"


@_storage_call
def save_files(attachment_id: uuid.UUID, picture: Picture) -> None:
    renderings = {"stored": picture.stored, "model": picture.for_model, "thumb": picture.thumbnail}
    for rendering, made in renderings.items():
        default_storage.save(_name(attachment_id, rendering), ContentFile(made.data))


@_storage_call
def open_file(attachment_id: uuid.UUID, rendering: RenderingName) -> tuple[IO[bytes], int, str]:
    """The file, its size in bytes and its type. Raises StoreUnavailable, and AttachmentNotFound if it was deleted."""
    return _open(attachment_id, rendering)


@_storage_call
def read_file(attachment_id: uuid.UUID, rendering: RenderingName) -> tuple[bytes, str] | None:
    """A whole file and its type; None if it was deleted. Raises StoreUnavailable."""
    try:
        file, _, mime_type = _open(attachment_id, rendering)
    except FileNotFoundError:
        return None
    with file:
        return file.read(), mime_type


@_storage_call
def delete_files(attachment_id: uuid.UUID) -> None:
    """Delete the existing files of an attachment."""
    for rendering in RENDERINGS:
        default_storage.delete(_name(attachment_id, rendering))
    try:
        # The empty folder on a disk; an object store has no folders.
        default_storage.delete(_name(attachment_id, "stored").rpartition("/")[0])
    except (OSError, NotImplementedError):
        logger.info("attachment_folder_kept", attachment_id=str(attachment_id))


@_storage_call
def storage_folders() -> list[str]:
    """The folders with files of attachments: 256 at most."""
    return _folders(FOLDER)


@_storage_call
def attachments_in(folder: str) -> list[uuid.UUID]:
    """The ids of the attachments that have files in one of `storage_folders`."""
    names = _folders(f"{FOLDER}/{folder}")
    return [uuid.UUID(hex=name) for name in names if re.fullmatch(r"[0-9a-f]{32}", name)]


@_storage_call
def is_older(attachment_id: uuid.UUID, *, than: datetime) -> bool:
    """Whether all files of an attachment were saved before this time."""
    folder = _name(attachment_id, "stored").rpartition("/")[0]
    files = default_storage.listdir(folder)[1]
    return all(default_storage.get_modified_time(f"{folder}/{file}") < than for file in files)


def restore_file(attachment_id: uuid.UUID, rendering: RenderingName, data: bytes) -> None:
    """Write a file of a backup. Raises the storage's own errors."""
    default_storage.save(_name(attachment_id, rendering), ContentFile(data))


def has_files() -> bool:
    """Whether the storage has a file of any attachment. Raises the storage's own errors."""
    return bool(_folders(FOLDER))


def _open(attachment_id: uuid.UUID, rendering: RenderingName) -> tuple[IO[bytes], int, str]:
    file: IO[bytes] = default_storage.open(_name(attachment_id, rendering), "rb")
    mime_type = "image/png" if file.read(len(_PNG)) == _PNG else "image/jpeg"
    size = file.seek(0, 2)
    file.seek(0)
    return file, size, mime_type


def _folders(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[0]
    except FileNotFoundError:
        return []
