"""The rows in PostgreSQL that belong to conversations, and a model without a table for the conversations in MongoDB."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class _NoRows(models.Manager["Conversation"]):
    def get_queryset(self) -> models.QuerySet[Conversation]:
        return super().get_queryset().none()


class Conversation(models.Model):
    """A model without a table or rows: conversations are in MongoDB (transcript_repository).

    It provides their name in Django's admin and the permissions to see them and to read their transcripts.
    """

    id = models.CharField(primary_key=True, max_length=24)

    objects = _NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        default_permissions = ("view",)
        permissions = (("view_transcript", "Can read transcripts of conversations that they can view"),)

    def __str__(self) -> str:
        return self.id


class Attachment(models.Model):
    """A picture that a user uploaded, stored once for each user. Its files are in `conversations.attachments.files`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="attachments")
    mime_type = models.CharField(max_length=50)
    width = models.PositiveIntegerField(help_text="Pixels.")
    height = models.PositiveIntegerField(help_text="Pixels.")
    bytes = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=("owner", "sha256"), name="attachment_once_per_owner"),)

    def __str__(self) -> str:
        return str(self.id)


class AttachmentUse(models.Model):
    """A conversation in which an attachment was sent. An attachment without uses that is not new is pruned."""

    attachment = models.ForeignKey(Attachment, on_delete=models.CASCADE, related_name="uses")
    conversation_id = models.CharField(max_length=24, db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("attachment", "conversation_id"), name="attachment_use_once"),)

    def __str__(self) -> str:
        return f"{self.attachment_id} in {self.conversation_id}"


class UploadKey(models.Model):
    """An Idempotency-Key of an upload, and the hash of the uploaded picture; kept for 24 hours."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=128)
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("owner", "key"), name="upload_key_once"),)

    def __str__(self) -> str:
        return self.key


class Import(models.Model):
    """An import of conversations. A web process runs it from its file in `conversations.imports.files`, or a command.

    The process that runs it is named in `worker`. When that process is dead, another one starts again; what is stored
    already is recognized.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="imports")
    source = models.CharField(max_length=20, blank=True, help_text="Empty: recognized by its content.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED, db_index=True)
    bytes = models.BigIntegerField(help_text="Of the file.")
    progress = models.PositiveSmallIntegerField(default=0, help_text="Percent of the file that is read.")
    conversations = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)
    text_bytes = models.BigIntegerField(default=0, db_default=0, help_text="Of the stored messages, in UTF-8.")
    skipped = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=list, blank=True)
    worker = models.CharField(max_length=200, blank=True)
    by_command = models.BooleanField(default=False, help_text="Has no stored file, so no process can take it over.")
    attempts = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=("owner",), name="import_one_running", condition=Q(status="running")),
        )

    def __str__(self) -> str:
        return str(self.id)


class Todo(models.Model):
    """A task of a user, perhaps found in a conversation."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="todos")
    title = models.CharField(max_length=255)
    description = models.CharField(max_length=1000, null=True, blank=True)  # noqa: DJ001  (null in the older API)
    completed = models.BooleanField(default=False)
    archived = models.BooleanField(
        default=False, db_default=False, help_text="Put away by its owner, whose list leaves it out."
    )
    conversation_id = models.CharField(max_length=24, blank=True)
    message_id = models.CharField(max_length=33, blank=True)
    found_hash = models.CharField(
        max_length=64, blank=True, editable=False, help_text="Of the title as it was found in the conversation."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(null=True, blank=True, help_text="Empty until changed.")

    class Meta:
        ordering = ("id",)
        indexes = (models.Index(fields=("owner", "id"), name="todo_owner"),)
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "conversation_id", "found_hash"), name="todo_found_once", condition=~Q(found_hash="")
            ),
        )

    def __str__(self) -> str:
        return f"todo {self.pk}"  # no text: it may be from a conversation, which not all staff may read
