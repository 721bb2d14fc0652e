"""The operations of users on the pictures that they attach to messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import IO

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from accounts.open_calls.live_accounts import lock_account
from ai.vision.pictures import read_picture
from conversations import transcript_repository as transcripts
from conversations.attachments.files import AttachmentNotFound, delete_files, save_files
from conversations.attachments.queries import (
    ROWS_PER_QUERY,
    get_readable_attachment,
    ownerless_files,
    unused_attachments,
)
from conversations.documents import AttachmentOutput
from conversations.models import Attachment, AttachmentUse, UploadKey
from edgechat.errors import ApiError, NotAuthenticated, PermissionDenied, TooLarge
from edgechat.http.idempotency import IdempotencyConflict
from edgechat.sandbox.job_limit import working_for

KEY_LIFETIME = timedelta(hours=24)


def store_attachment(*, owner_id: int, file: IO[bytes], idempotency_key: str | None = None) -> Attachment:
    """Store a picture, or return the existing one if the owner has uploaded it before.

    Raises TooLarge, UnsupportedType, StoreUnavailable, and IdempotencyConflict for a key that was used with
    another picture.
    """
    with working_for(owner_id):
        picture = read_picture(file)
    try:
        if idempotency_key is not None and _key_sha256(owner_id, idempotency_key, picture.sha256) != picture.sha256:
            raise IdempotencyConflict
    except IntegrityError:  # the account was deleted in the meantime
        raise NotAuthenticated from None
    same_picture = Attachment.objects.filter(owner_id=owner_id, sha256=picture.sha256)
    found = same_picture.first()
    # A repeated upload restarts the time in which it must be sent. The picture may have been pruned just now.
    if found is not None and same_picture.update(created_at=timezone.now()):
        return found
    size = len(picture.stored.data)
    # This check only spares the storage; the check below, under the lock, is the reliable one.
    _refuse_too_many(owner_id, more=1, more_bytes=size)
    attachment = Attachment(
        id=uuid.uuid4(),
        owner_id=owner_id,
        mime_type=picture.stored.mime_type,
        width=picture.stored.width,
        height=picture.stored.height,
        bytes=size,
        sha256=picture.sha256,
    )
    # Files are saved first, so that a row always has its files. `prune_attachments` finds files without a row.
    save_files(attachment.id, picture)
    try:
        with transaction.atomic():
            # The lock keeps simultaneous uploads from exceeding the limits.
            lock_account(owner_id)
            attachment.save(force_insert=True)
            _refuse_too_many(owner_id)
    except IntegrityError:  # a simultaneous upload of the same picture
        delete_files(attachment.id)
        found = same_picture.first()
        if found is None:
            raise AttachmentNotFound from None
        return found
    except ApiError:
        delete_files(attachment.id)
        raise
    return attachment


def record_uses(attachments: Sequence[AttachmentOutput], *, conversation_id: str) -> None:
    """Record that these are sent in a conversation. Raises AttachmentNotFound if one was deleted meanwhile."""
    if not attachments:
        return
    uses = [AttachmentUse(attachment_id=each["id"], conversation_id=conversation_id) for each in attachments]
    try:
        with transaction.atomic():
            AttachmentUse.objects.bulk_create(uses, ignore_conflicts=True)
    except IntegrityError:
        raise AttachmentNotFound from None


def delete_attachment(*, owner_id: int, attachment_id: str) -> None:
    """Delete a picture. Messages with it keep its entry, and the model receives them without it from now on.

    Raises AttachmentNotFound, and PermissionDenied for one that is only shared with the user.
    """
    attachment = get_readable_attachment(user_id=owner_id, attachment_id=attachment_id)
    if attachment.owner_id != owner_id:
        raise PermissionDenied
    Attachment.objects.filter(id=attachment.id).delete()
    delete_files(attachment.id)


def delete_attachments_of(owner_id: int) -> None:
    """Delete all of a user's files and rows; repeatable."""
    for attachment_id in Attachment.objects.filter(owner_id=owner_id).values_list("id", flat=True):
        delete_files(attachment_id)
        Attachment.objects.filter(id=attachment_id).delete()


def prune_pictures() -> Iterator[int]:
    """Delete the pictures that nothing uses, and files without a row; yields the number at each step."""
    yield from forget_deleted_conversations()
    for attachment_id in unused_attachments():
        yield int(delete_unused(attachment_id))
    for ownerless in ownerless_files():
        if ownerless is not None:
            delete_files(ownerless)
        yield int(ownerless is not None)
    for _ in delete_old_keys():
        yield 0


def forget_deleted_conversations() -> Iterator[int]:
    """Delete the uses by conversations that no longer exist, in steps; yields 0 for each, as no picture goes."""
    last = ""
    while True:
        uses = AttachmentUse.objects.filter(conversation_id__gt=last).order_by("conversation_id")
        ids = list(uses.values_list("conversation_id", flat=True).distinct()[:ROWS_PER_QUERY])
        if not ids:
            return
        absent = set(ids) - transcripts.existing_conversations(ids)
        AttachmentUse.objects.filter(conversation_id__in=absent).delete()
        last = ids[-1]
        yield 0


def delete_unused(attachment_id: uuid.UUID) -> bool:
    """Delete an attachment; False if it has been used or deleted meanwhile."""
    with transaction.atomic():
        # The lock prevents a new use between the check and the deletion.
        attachment = Attachment.objects.select_for_update().filter(id=attachment_id).first()
        if attachment is None or attachment.uses.exists():
            return False
        attachment.delete()
    delete_files(attachment_id)
    return True


def delete_old_keys(*, batch: int = ROWS_PER_QUERY) -> Iterator[int]:
    """Delete the keys of uploads that are no longer kept, in batches; yields their sizes."""
    old = UploadKey.objects.filter(created_at__lt=timezone.now() - KEY_LIFETIME)
    while ids := list(old.values_list("id", flat=True)[:batch]):
        yield UploadKey.objects.filter(id__in=ids).delete()[0]


def _refuse_too_many(owner_id: int, *, more: int = 0, more_bytes: int = 0) -> None:
    """Raise TooLarge if the owner's pictures, including `more`, exceed the allowed number or bytes."""
    kept = Attachment.objects.filter(owner_id=owner_id).aggregate(number=Count("id"), bytes=Sum("bytes", default=0))
    if kept["number"] + more > settings.MAX_ATTACHMENTS:
        raise TooLarge(f"An account can have {settings.MAX_ATTACHMENTS} pictures; delete some of them first")
    quota = settings.ATTACHMENT_QUOTA_MB
    if kept["bytes"] + more_bytes > quota * 1024 * 1024:
        raise TooLarge(f"Your pictures may have {quota} MB together; delete some of them first")


def _key_sha256(owner_id: int, key: str, sha256: str) -> str:
    """The hash of the picture first sent with this key in the last 24 hours; `sha256` if there was none."""
    now = timezone.now()
    UploadKey.objects.filter(owner_id=owner_id, key=key, created_at__lt=now - KEY_LIFETIME).delete()
    first, _ = UploadKey.objects.get_or_create(
        owner_id=owner_id, key=key, defaults={"sha256": sha256, "created_at": now}
    )
    return first.sha256
