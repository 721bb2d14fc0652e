"""Reads of the pictures that users attach to messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial

from django.utils import timezone

from ai.gemini import PromptPicture
from ai.parsing.limits import MODEL_SIDE
from conversations.attachments.files import (
    AttachmentNotFound,
    attachments_in,
    is_older,
    read_file,
    storage_folders,
)
from conversations.documents import AttachmentOutput
from conversations.models import Attachment
from conversations.queries import is_shared_with

# The minimum age of unused uploads, and of files without a row, before they are deleted.
UNUSED_LIFETIME = timedelta(hours=24)
ROWS_PER_QUERY = 500


def get_readable_attachment(*, user_id: int, attachment_id: str) -> Attachment:
    """The user's attachment, or one in a conversation shared with the user. Raises AttachmentNotFound otherwise."""
    try:
        attachment = Attachment.objects.get(id=uuid.UUID(attachment_id))
    except (ValueError, Attachment.DoesNotExist):
        raise AttachmentNotFound from None
    if attachment.owner_id != user_id:
        uses = list(attachment.uses.values_list("conversation_id", flat=True))
        if not is_shared_with(user_id=user_id, owner_id=attachment.owner_id, conversation_ids=uses):
            raise AttachmentNotFound
    return attachment


def get_attachments(*, owner_id: int, attachment_ids: Sequence[str]) -> list[Attachment]:
    """The owner's attachments in this order. Raises AttachmentNotFound if one is not the owner's."""
    if not attachment_ids:
        return []
    try:
        ids = [uuid.UUID(attachment_id) for attachment_id in attachment_ids]
        found = Attachment.objects.filter(owner_id=owner_id).in_bulk(ids)
        return [found[attachment_id] for attachment_id in ids]
    except (ValueError, KeyError):
        raise AttachmentNotFound from None


def attachment_body(attachment: Attachment) -> AttachmentOutput:
    return {
        "id": str(attachment.id),
        "mime_type": attachment.mime_type,
        "width": attachment.width,
        "height": attachment.height,
        "bytes": attachment.bytes,
        "sha256": attachment.sha256,
    }


def prompt_pictures(bodies: Sequence[AttachmentOutput]) -> tuple[PromptPicture, ...]:
    """A message's attachments in the form in which the model receives them."""
    return tuple(_prompt_picture(body) for body in bodies)


def unused_attachments() -> Iterator[uuid.UUID]:
    """The ids of all owners' attachments that no conversation uses and that are not new."""
    last = uuid.UUID(int=0)
    unused = Attachment.objects.filter(uses=None, created_at__lt=timezone.now() - UNUSED_LIFETIME).order_by("id")
    while ids := list(unused.filter(id__gt=last).values_list("id", flat=True)[:ROWS_PER_QUERY]):
        yield from ids
        last = ids[-1]


def ownerless_files() -> Iterator[uuid.UUID | None]:
    """The ids of files without a row, left by a process that died or a storage that was unavailable.

    None for each few hundred files that were looked at.
    """
    before = timezone.now() - UNUSED_LIFETIME
    for folder in storage_folders():
        stored = attachments_in(folder)
        for first in range(0, len(stored), ROWS_PER_QUERY):
            some = stored[first : first + ROWS_PER_QUERY]
            known = set(Attachment.objects.filter(id__in=some).values_list("id", flat=True))
            yield from (each for each in some if each not in known and is_older(each, than=before))
            yield None


def _prompt_picture(body: AttachmentOutput) -> PromptPicture:
    scale = min(1.0, MODEL_SIDE / max(body["width"], body["height"]))
    read = partial(read_file, uuid.UUID(body["id"]), "model")
    return PromptPicture(round(body["width"] * scale), round(body["height"] * scale), read)
