"""What users read of their imports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, TypedDict, cast, get_args

from accounts.lifecycle.data_export import Record, record_of, rows_of
from conversations.models import Import
from edgechat.errors import NotFound
from edgechat.http.bodies import Keywords

Status = Literal["queued", "running", "finished", "failed"]
Source = Literal["chatgpt", "claude", "edgechat"]
STATUSES, SOURCES = get_args(Status), get_args(Source)


class ImportNotFound(NotFound):
    detail = "Import not found"


class ImportCounts(TypedDict):
    conversations: Annotated[int, "Conversations that are imported so far."]
    messages: Annotated[int, "The messages of the imported conversations."]
    skipped: Annotated[int, "Conversations that were left out, or that are here from an earlier import."]


class ImportOutput(TypedDict):
    id: Annotated[str, "The import's id."]
    status: Annotated[Status, "How far the import is."]
    source: Annotated[Source | None, "Where the file comes from; null: each conversation is recognized by its fields."]
    progress: Annotated[int, "Percent of the file that is read.", Keywords(minimum=0, maximum=100)]
    counts: Annotated[ImportCounts, "What has become of the conversations that are read."]
    report: Annotated[list[str], "What was left out or changed, and why, in about 120 sentences at most."]
    created_at: Annotated[datetime, "When the file was sent."]
    finished_at: Annotated[datetime | None, "When the import ended; null until then."]


class ImportRecord(TypedDict):
    id: Annotated[uuid.UUID, "The import's id."]
    source: Annotated[str, "Where the file came from; empty: recognized."]
    status: Annotated[str, "`queued`, `running`, `finished` or `failed`."]
    conversations: Annotated[int, "Conversations that were imported."]
    messages: Annotated[int, "The messages of the imported conversations."]
    skipped: Annotated[int, "Conversations that were left out, or that were here before."]
    report: Annotated[list[str], "What was left out or changed, and why."]
    created_at: Annotated[datetime, "When the file was sent."]
    finished_at: Annotated[datetime | None, "When the import ended; null until then."]


TYPES = {"import": ("imports", ImportRecord)}


def get_import(*, owner_id: int, import_id: str) -> Import:
    """Raises ImportNotFound."""
    try:
        key = uuid.UUID(import_id)
    except ValueError:
        raise ImportNotFound from None
    found = Import.objects.filter(owner_id=owner_id, id=key).first()
    if found is None:
        raise ImportNotFound
    return found


def import_body(row: Import) -> ImportOutput:
    return {
        "id": str(row.id),
        "status": cast(Status, row.status),
        "source": cast("Source | None", row.source or None),
        "progress": row.progress,
        "counts": {"conversations": row.conversations, "messages": row.messages, "skipped": row.skipped},
        "report": row.report,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def export_imports(user_id: int) -> Iterator[Record]:
    for row in rows_of(Import.objects.filter(owner_id=user_id)):
        yield "import", record_of(ImportRecord, row)
