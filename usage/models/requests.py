"""Answered requests, and how far they are counted."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class RequestRecord(models.Model):
    """One answered request with a valid token. Kept for USAGE_RAW_DAYS."""

    key = models.CharField(  # noqa: DJ001  (those that were counted before there were keys have none)
        max_length=40,
        null=True,
        unique=True,
        help_text="Unique to the request, so a record that arrives twice is counted once.",
    )

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False
    )  # `request_user` starts with this column
    at = models.DateTimeField(db_index=True)
    method = models.CharField(max_length=10)
    route = models.CharField(max_length=200, help_text="The path's pattern, without ids.")
    status = models.PositiveSmallIntegerField()
    milliseconds = models.PositiveIntegerField()
    request_id = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",  # processes of an older release do not write this column
        help_text="As in X-Request-ID and in every error; a client may choose it.",
    )
    is_long = models.BooleanField(
        default=False,
        db_default=False,  # processes of an older release do not write this column
        help_text="A send, an event stream, a call to the model, an export, a picture. `milliseconds` is then the time "
        "until its answer began, and is not part of the latency.",
    )
    reason = models.CharField(
        max_length=60,
        blank=True,
        default="",
        db_default="",  # as `is_long`
        help_text="The code of the error that was answered, and which limit refused it: budget_exceeded:user_month.",
    )

    class Meta:
        verbose_name = "request"
        ordering = ("-at",)
        indexes = (
            models.Index(fields=("at",), name="request_failed", condition=Q(status__gte=400)),
            models.Index(fields=("user", "-at"), name="request_user"),
            models.Index(fields=("user", "-at"), name="request_user_failed", condition=Q(status__gte=400)),
            models.Index(fields=("request_id",), name="request_request_id"),
            models.Index(fields=("status", "-at"), name="request_status", condition=~Q(status=200)),
            models.Index(fields=("-at",), name="request_slow", condition=Q(milliseconds__gte=1000)),
            models.Index(fields=("reason", "-at"), name="request_reason", condition=~Q(reason="")),
            # For rare values: frequent ones are found in the order of the time. Few routes make a small index.
            models.Index(fields=("milliseconds",), name="request_slowest", condition=Q(milliseconds__gte=1000)),
            models.Index(fields=("route",), name="request_route"),
        )

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status}"


class RecorderPosition(models.Model):
    """One row: the position up to which the stream of requests in Redis has been written to the tables above.

    It changes in the same transaction as these tables, so a killed process causes neither double counts nor gaps.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    last_id = models.CharField(max_length=50, default="0-0")
    raw_since = models.DateTimeField(null=True, blank=True, help_text="Older request records have been deleted.")
    costs_until = models.DateField(
        null=True, blank=True, help_text="Calls that were settled before this day are summed up in DailyCost."
    )

    def __str__(self) -> str:
        return self.last_id
