"""Imports that users ask for: queued here, run by any web process (`conversations.imports.run`)."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import IO

from django.conf import settings
from django.db import models, transaction
from django.db.models import Sum
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.open_calls.live_accounts import lock_account
from conversations.imports.files import delete_file, save_file, stored_files
from conversations.models import Import
from edgechat.errors import ApiError, RateLimited, TooLarge, UnsupportedType

MAX_UNFINISHED = 3
# Of IMPORT_QUOTA_MB. So a small quota also limits how many imports there are.
MIN_COUNTED_BYTES = 10 * 1024 * 1024
_COUNTED = Greatest("text_bytes", MIN_COUNTED_BYTES)
KEPT_FOR, FILE_KEPT_FOR = timedelta(days=30), timedelta(days=1)
PRUNED_AT_ONCE = 100
UNFINISHED = (Import.Status.QUEUED, Import.Status.RUNNING)
ACCEPTED = "accepted: application/json, application/x-ndjson, application/zip"


class TooManyImports(RateLimited):
    code = "too_many_imports"
    detail = f"{MAX_UNFINISHED} imports of this account are not finished; wait for one of them"

    def __init__(self) -> None:
        super().__init__(retry_after=30)


class ImportQuotaExceeded(RateLimited):
    code = "import_quota_exceeded"
    detail = "This account has imported as much as it may within 30 days"


def too_large_text() -> str:
    return f"A file to import may have {settings.IMPORT_MAX_MB} MB at most"


def create_import(*, owner_id: int, file: IO[bytes], source: str | None) -> Import:
    """Store a file and queue its import.

    Raises TooLarge, UnsupportedType, TooManyImports, ImportQuotaExceeded, StoreUnavailable, and NotAuthenticated when
    the account was deleted meanwhile.
    """
    size = file.seek(0, io.SEEK_END)
    if size > settings.IMPORT_MAX_MB * 1024 * 1024:
        raise TooLarge(too_large_text())
    file.seek(0)
    if not _may_be_an_export(file.read(1024)):
        raise UnsupportedType(f"Unsupported media type; {ACCEPTED}")
    file.seek(0)
    queued = Import(id=uuid.uuid4(), owner_id=owner_id, source=source or "", bytes=size)
    # The file is saved first, so that a row always has its file. `prune_imports` finds files without a row.
    save_file(queued.id, file)
    try:
        with transaction.atomic():
            lock_account(owner_id)
            check_limits(owner_id)
            queued.save(force_insert=True)
    except ApiError:
        delete_file(queued.id)
        raise
    return queued


def delete_imports_of(owner_id: int) -> None:
    """Delete a user's imports and their files; repeatable. A process that runs one notices that its row is gone."""
    for import_id in list(Import.objects.filter(owner_id=owner_id).values_list("id", flat=True)):
        delete_file(import_id)
        Import.objects.filter(id=import_id).delete()


def prune_imports() -> Iterator[int]:
    """Delete finished imports after 30 days, and files whose import is finished or unknown; yields the numbers."""
    old = Import.objects.exclude(status__in=UNFINISHED).filter(created_at__lt=timezone.now() - KEPT_FOR)
    while ids := list(old.values_list("id", flat=True)[:PRUNED_AT_ONCE]):
        yield Import.objects.filter(id__in=ids).delete()[0]
    files = stored_files(saved_before=timezone.now() - FILE_KEPT_FOR)
    for first in range(0, len(files), PRUNED_AT_ONCE):
        some = files[first : first + PRUNED_AT_ONCE]
        unfinished = set(Import.objects.filter(id__in=some, status__in=UNFINISHED).values_list("id", flat=True))
        for import_id in some:
            if import_id not in unfinished:
                delete_file(import_id)
                yield 1


def _may_be_an_export(start: bytes) -> bool:
    """Whether a file may be a .zip or JSON, by its first bytes."""
    return start.startswith(b"PK\x03\x04") or start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")


def check_limits(owner_id: int) -> None:
    """Raises TooManyImports and ImportQuotaExceeded."""
    if Import.objects.filter(owner_id=owner_id, status__in=UNFINISHED).count() >= MAX_UNFINISHED:
        raise TooManyImports
    left = quota_left(owner_id)
    if left <= 0:
        # The last import may have gone beyond the quota, and then the end of the oldest one is not enough.
        ends_at = now = timezone.now()
        for created_at, imported in (
            _counted_imports(owner_id).order_by("created_at").values_list("created_at", _COUNTED)
        ):
            left, ends_at = left + imported, created_at + KEPT_FOR
            if left > 0:
                break
        raise ImportQuotaExceeded(retry_after=(ends_at - now).total_seconds())


def quota_left(owner_id: int, *, without: uuid.UUID | None = None) -> int:
    """Bytes of text that the user may import now; `without` is the id of an import that is not counted."""
    others = _counted_imports(owner_id).exclude(id__in=[without] if without else [])
    imported: int = others.aggregate(bytes=Sum(_COUNTED, default=0))["bytes"]
    return settings.IMPORT_QUOTA_MB * 1024 * 1024 - imported


def _counted_imports(owner_id: int) -> models.QuerySet[Import]:
    recent = Import.objects.filter(created_at__gt=timezone.now() - KEPT_FOR)
    return recent.filter(owner_id=owner_id, by_command=False)
