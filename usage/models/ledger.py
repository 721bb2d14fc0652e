"""Calls to the model, and their prices."""

from __future__ import annotations

from datetime import UTC, date

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils import timezone


def paid_model() -> Coalesce:
    """The model whose price a ledger entry has: the one that answered, if it reported its name."""
    return Coalesce(NullIf("answered_by", Value("")), "model")


def today() -> date:
    """The current day in UTC."""
    return timezone.now().astimezone(UTC).date()


class LedgerEntry(models.Model):
    """One call to the model: opened before the call, settled after it with the usage that the model reported."""

    class Purpose(models.TextChoices):
        CHAT = "chat"
        TITLE = "title"
        CONTEXT_SUMMARY = "context_summary"
        COMPLETE = "complete"
        VISION = "vision"
        SUMMARIZE = "summarize"
        ACTION_ITEMS = "action_items"
        CHECK = "check"  # a check by `manage.py doctor`, without a user

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
        "accounts.Organization",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="ledger_entries",
        db_index=False,
    )  # `ledger_organization` starts with this column
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    model = models.CharField(max_length=100, help_text="The requested one.")
    answered_by = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",  # processes of an older release do not write this column
        help_text="The model or its version that answered, whose price applies; empty if it did not report its name.",
    )
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0, help_text="Thinking included.")
    cached_tokens = models.PositiveIntegerField(default=0, help_text="The part of the input that the model had cached.")
    thinking_tokens = models.PositiveIntegerField(default=0)
    estimated = models.BooleanField(default=False, help_text="The model reported no counts; these are estimates.")
    opened_at = models.DateTimeField(auto_now_add=True)
    reserved_tokens = models.PositiveBigIntegerField(
        default=0,
        help_text="Taken from the budgets during the call: its estimated input and highest possible output.",
    )
    cost_micros = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Millionths of the currency of the prices; empty without a price."
    )
    holder = models.CharField(max_length=100, blank=True, default="", help_text="The process that makes the call.")
    request_id = models.CharField(
        max_length=128,
        blank=True,
        default="",
        db_default="",  # as `answered_by`
        help_text="The request that asked for it; empty for calls that a process makes by itself.",
    )
    abandoned_after = models.DateTimeField(help_text="After this time no process can still be making the call.")
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "ledger entries"
        indexes = (
            models.Index(fields=("user", "-settled_at"), name="ledger_user_settled"),
            models.Index(fields=("settled_at",), name="ledger_settled"),
            models.Index(fields=("abandoned_after",), name="ledger_open", condition=Q(settled_at__isnull=True)),
            models.Index(fields=("request_id",), name="ledger_request"),
            models.Index(
                fields=("organization", "-settled_at"),
                name="ledger_organization",
                condition=Q(organization__isnull=False),
            ),
            models.Index(paid_model(), F("settled_at").desc(), name="ledger_model_settled"),
            models.Index(fields=("purpose", "-settled_at"), name="ledger_purpose_settled"),
            models.Index(fields=("-settled_at",), name="ledger_estimates", condition=Q(estimated=True)),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(thinking_tokens__lte=F("output_tokens")), name="ledger_thinking_within_output"
            ),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="ledger_cached_in_input"),
        )

    def __str__(self) -> str:
        return self.attempt_id


class ModelPrice(models.Model):
    """The price of a million tokens of a model from a day on, in millionths of a currency common to all prices.

    It applies to calls that start on this day or later, until the day of the model's next price, and that are settled
    from now on: settled calls keep their cost.
    """

    model = models.CharField(max_length=100)
    valid_from = models.DateField(default=today, help_text="The first day, UTC.")
    input_micros = models.PositiveBigIntegerField("input", help_text="Per million tokens, in millionths.")
    cached_input_micros = models.PositiveBigIntegerField("cached input", help_text="Per million tokens, in millionths.")
    output_micros = models.PositiveBigIntegerField(
        "output", help_text="Per million tokens, thinking included, in millionths."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "price"
        ordering = ("model", "-valid_from")
        constraints = (models.UniqueConstraint(fields=("model", "valid_from"), name="price_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from}"
