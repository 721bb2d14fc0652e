"""What users ask for and what the model does for them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q


class HourlyUsage(models.Model):
    """Requests and tokens of a user in one hour, so that a total costs the same after 200 or 20 million requests."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="hourly_usage")
    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    requests = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-hour",)
        verbose_name_plural = "hourly usage"
        constraints = (models.UniqueConstraint(fields=("user", "hour"), name="hourly_usage_once"),)

    def __str__(self) -> str:
        return f"user {self.user_id} at {self.hour:%Y-%m-%d %H}h"


class RequestRecord(models.Model):
    """One answered request with a valid token. Kept for USAGE_RAW_DAYS."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_index=True)
    method = models.CharField(max_length=10)
    route = models.CharField(max_length=200, help_text="The path's pattern, without ids.")
    status = models.PositiveSmallIntegerField()
    milliseconds = models.PositiveIntegerField()

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status}"


class RecorderPosition(models.Model):
    """One row: up to where the stream of requests in Redis has been written to the tables above.

    It changes in the same transaction as they do, so nothing is counted twice or left out when a process is killed.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    last_id = models.CharField(max_length=50, default="0-0")

    def __str__(self) -> str:
        return self.last_id


class LedgerEntry(models.Model):
    """One call to the model: opened before it, settled after it with what the model said that it used."""

    class Purpose(models.TextChoices):
        CHAT = "chat"
        TITLE = "title"
        CONTEXT_SUMMARY = "context_summary"
        COMPLETE = "complete"
        VISION = "vision"
        SUMMARIZE = "summarize"
        ACTION_ITEMS = "action_items"

    attempt_id = models.CharField(max_length=100, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="ledger_entries",
        help_text="Empty after the account was deleted.",
    )
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.SET_NULL, null=True, blank=True, related_name="ledger_entries"
    )
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    model = models.CharField(max_length=100)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0, help_text="Thinking included.")
    cached_tokens = models.PositiveIntegerField(default=0, help_text="Of the input, what the model had cached.")
    thinking_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=False, help_text="The model never said; these are our estimates.")
    opened_at = models.DateTimeField(auto_now_add=True)
    abandoned_after = models.DateTimeField(help_text="No process can still be making this call then.")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "ledger entries"
        indexes = (
            models.Index(fields=("user", "-settled_at"), name="ledger_user_settled"),
            models.Index(fields=("settled_at",), name="ledger_settled"),
            models.Index(fields=("abandoned_after",), name="ledger_open", condition=Q(settled_at__isnull=True)),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(thinking_tokens__lte=F("output_tokens")), name="ledger_thinking_within_output"
            ),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="ledger_cached_in_input"),
        )

    def __str__(self) -> str:
        return self.attempt_id


class Budget(models.Model):
    """A limit of tokens in a calendar period (UTC) for one user or one organization."""

    class Period(models.TextChoices):
        MONTH = "month"
        DAY = "day"

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="budgets"
    )
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.CASCADE, null=True, blank=True, related_name="budgets"
    )
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.MONTH)
    token_limit = models.PositiveBigIntegerField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(user__isnull=False, organization__isnull=True)
                | Q(user__isnull=True, organization__isnull=False),
                name="budget_of_a_user_or_an_organization",
            ),
            models.UniqueConstraint(fields=("user", "period"), name="budget_once_per_user"),
            models.UniqueConstraint(fields=("organization", "period"), name="budget_once_per_organization"),
        )

    def __str__(self) -> str:
        return f"{self.token_limit} tokens a {self.period}"
