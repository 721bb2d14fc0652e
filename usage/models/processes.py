"""Processes that write replies, and the one that prunes."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Process(models.Model):
    """A process that writes replies and calls the model, for as long as it renews its lease."""

    name = models.CharField(max_length=100, primary_key=True)
    alive_until = models.DateTimeField()
    held_since = models.DateTimeField(db_default=Now(), help_text="The start of the renewals without a gap.")
    leaving = models.BooleanField(db_default=False, help_text="The process ends: others may take over its replies.")
    dead = models.BooleanField(db_default=False, help_text="Permanent: the row cannot be renewed.")

    class Meta:
        db_table = "usage_ledgerholder"  # the name that processes of older versions use
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name


class Pruning(models.Model):
    """One row: the process that prunes, and when all jobs were last done (`usage.pruning`)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    holder = models.CharField(max_length=100, blank=True, default="", help_text="Empty: no process prunes.")
    finished_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"pruned at {self.finished_at}"
