"""Requests of users, calls to the model, and the budgets and prices of these calls.

Single requests and calls are stored as they happened. Sums that are shown often are stored beside them, and
`rebuild_usage` recalculates these.
"""

from __future__ import annotations

from datetime import UTC, date

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, Now, NullIf
from django.utils import timezone

_ONE_OWNER = Q(user__isnull=False, organization__isnull=True) | Q(user__isnull=True, organization__isnull=False)


def paid_model() -> Coalesce:
    """The model whose price a ledger entry has: the one that answered, if it reported its name."""
    return Coalesce(NullIf("answered_by", Value("")), "model")


def today() -> date:
    """The current day in UTC."""
    return timezone.now().astimezone(UTC).date()


class HourlyUsage(models.Model):
    """Requests and tokens of a user in one hour, so that a total costs the same after 200 or 20 million requests."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="hourly_usage", db_index=False
    )  # the index of the constraint starts with this column
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


class OrganizationUsage(models.Model):
    """Tokens that a member's calls took from an organization in one hour."""

    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.CASCADE, related_name="+", db_index=False
    )  # the index of the constraint starts with this column
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: members whose accounts were deleted.",
    )
    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-hour",)
        verbose_name_plural = "organization usage"
        constraints = (
            models.UniqueConstraint(
                fields=("organization", "user", "hour"), name="organization_usage_once", nulls_distinct=False
            ),
        )

    def __str__(self) -> str:
        return f"organization {self.organization_id}, user {self.user_id} at {self.hour:%Y-%m-%d %H}h"


class DailyTraffic(models.Model):
    """The requests of all users in one day (UTC)."""

    date = models.DateField(primary_key=True)
    requests = models.PositiveBigIntegerField(default=0)
    client_errors = models.PositiveBigIntegerField(default=0, help_text="Answered with 400 to 499.")
    server_errors = models.PositiveBigIntegerField(default=0, help_text="Answered with 500 and above.")
    active_users = models.PositiveBigIntegerField(default=0, help_text="Users with at least one request.")
    latencies = ArrayField(
        models.PositiveBigIntegerField(), help_text="Histogram of the durations: see usage/reports/latency.py."
    )

    class Meta:
        ordering = ("-date",)
        verbose_name_plural = "daily traffic"

    def __str__(self) -> str:
        return f"{self.date}"


class RequestRecord(models.Model):
    """One answered request with a valid token. Kept for USAGE_RAW_DAYS."""

    key = models.CharField(  # noqa: DJ001  (those that were counted before there were keys have none)
        max_length=40,
        null=True,
        unique=True,
        help_text="Unique to the request, so a record that arrives twice is counted once.",
    )

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
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

    class Meta:
        ordering = ("-at",)
        indexes = (
            models.Index(fields=("at",), name="request_failed", condition=Q(status__gte=400)),
            models.Index(fields=("request_id",), name="request_request_id"),
            models.Index(fields=("status", "-at"), name="request_errors", condition=Q(status__gte=400)),
            models.Index(fields=("-at",), name="request_slow", condition=Q(milliseconds__gte=1000)),
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
        "accounts.Organization", on_delete=models.SET_NULL, null=True, blank=True, related_name="ledger_entries"
    )
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
            models.Index(paid_model(), F("id").desc(), name="ledger_paid_model"),
            models.Index(fields=("purpose", "-id"), name="ledger_purpose"),
            models.Index(fields=("-id",), name="ledger_estimated", condition=Q(estimated=True)),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(thinking_tokens__lte=F("output_tokens")), name="ledger_thinking_within_output"
            ),
            models.CheckConstraint(condition=Q(cached_tokens__lte=F("input_tokens")), name="ledger_cached_in_input"),
        )

    def __str__(self) -> str:
        return self.attempt_id


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


class DailyCost(models.Model):
    """The settled calls of one past day (UTC), of one model, for one organization or for none.

    After an organization is deleted, several rows may have the same day and model without an organization.
    """

    date = models.DateField(db_index=True)
    model = models.CharField(max_length=100)
    organization = models.ForeignKey(
        "accounts.Organization", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    calls = models.PositiveBigIntegerField()
    unpriced_calls = models.PositiveBigIntegerField(help_text="Calls of models without a price.")
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cost_micros = models.PositiveBigIntegerField()

    class Meta:
        ordering = ("-date",)
        constraints = (
            models.CheckConstraint(condition=Q(unpriced_calls__lte=F("calls")), name="daily_cost_unpriced_calls"),
        )

    def __str__(self) -> str:
        return f"{self.model} on {self.date}"


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
        ordering = ("model", "-valid_from")
        constraints = (models.UniqueConstraint(fields=("model", "valid_from"), name="price_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from}"


class Budget(models.Model):
    """A token limit of one user or one organization in a calendar period (UTC).

    A monthly budget replaces MONTHLY_TOKEN_LIMIT.
    """

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
    token_limit = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Empty: no limit, also if MONTHLY_TOKEN_LIMIT is set. 0: no tokens."
    )

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                condition=_ONE_OWNER,
                name="budget_of_a_user_or_an_organization",
                violation_error_message="A budget is of one user or of one organization.",
            ),
            models.UniqueConstraint(fields=("user", "period"), name="budget_once_per_user"),
            models.UniqueConstraint(fields=("organization", "period"), name="budget_once_per_organization"),
        )

    def __str__(self) -> str:
        return f"{'no limit of' if self.token_limit is None else self.token_limit} tokens a {self.period}"


class Spending(models.Model):
    """What one user or one organization has used of its budgets, and has reserved for running calls.

    Every call locks this row for one statement, so no two calls use the same remaining tokens. A count belongs to the
    period that begins on the date beside it. After that period, the next call restarts the count.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="spending"
    )
    organization = models.OneToOneField(
        "accounts.Organization", on_delete=models.CASCADE, null=True, blank=True, related_name="spending"
    )
    month = models.DateField(help_text="The first day of the month, UTC.")
    month_tokens = models.PositiveBigIntegerField(default=0)
    day = models.DateField(help_text="UTC.")
    day_tokens = models.PositiveBigIntegerField(default=0)
    reserved_tokens = models.PositiveBigIntegerField(default=0)
    month_cost_micros = models.PositiveBigIntegerField(
        default=0,
        db_default=0,  # processes of an older release do not write this column
        help_text="Of the calls with a price, in millionths of the currency of the prices.",
    )

    class Meta:
        verbose_name_plural = "spending"
        indexes = (models.Index(fields=("month", "-month_tokens"), name="spending_most"),)
        constraints = (models.CheckConstraint(condition=_ONE_OWNER, name="spending_of_a_user_or_an_organization"),)

    def __str__(self) -> str:
        return f"{self.month_tokens} tokens since {self.month}"


class BudgetWarning(models.Model):
    """An e-mail about a budget, which is sent once in a period: whichever process adds the row sends it."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+", db_index=False
    )  # the index of the constraint starts with this column
    organization = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, null=True, related_name="+")
    period = models.CharField(max_length=5, choices=Budget.Period.choices)
    begins = models.DateField(help_text="The first day of the period, UTC.")
    percent = models.PositiveSmallIntegerField(help_text="80, or 100 for a budget that is used up.")
    sent_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user", "organization", "period", "begins", "percent"),
                name="budget_warning_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=_ONE_OWNER, name="budget_warning_of_a_user_or_an_organization"),
        )

    def __str__(self) -> str:
        return f"{self.percent} % of the {self.period} of {self.begins}"
