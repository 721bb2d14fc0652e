"""Sums of requests and calls, which `rebuild_usage` recalculates from single ones."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q


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
        indexes = (models.Index(fields=("hour",), name="hourly_usage_hour"),)
        constraints = (models.UniqueConstraint(fields=("user", "hour"), name="hourly_usage_once"),)

    def __str__(self) -> str:
        return f"user {self.user_id} at {self.hour:%Y-%m-%d %H}h"


class UserDay(models.Model):
    """The requests and the settled calls of a user in one day (UTC)."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,  # the index of the constraint starts with this column
        help_text="Empty: calls of deleted accounts and calls without a user.",
    )
    date = models.DateField()
    requests = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0, help_text="Requests answered with 400 and above.")
    calls = models.PositiveBigIntegerField(default=0)
    unpriced_calls = models.PositiveBigIntegerField(default=0, help_text="Calls of models without a price.")
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_micros = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ("-date",)
        constraints = (models.UniqueConstraint(fields=("user", "date"), name="user_day_once", nulls_distinct=False),)
        indexes = (
            # All that the order of users by cost needs.
            models.Index(
                fields=("date",),
                include=("user", "cost_micros", "input_tokens", "output_tokens"),
                name="user_day_calls",
                condition=Q(calls__gt=0),
            ),
        )

    def __str__(self) -> str:
        return f"user {self.user_id} on {self.date}"


class EarlyRefusal(models.Model):
    """Requests of one hour that were refused before their user was checked: RequestRecord has none of them.

    The limit of an address refused them, or they had no valid token: for example, their path is unknown. Kept for
    USAGE_RAW_DAYS.
    """

    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    status = models.PositiveSmallIntegerField()
    reason = models.CharField(
        max_length=60, blank=True, help_text="The code of the error that was answered, and which limit refused it."
    )
    route = models.CharField(
        max_length=200, blank=True, help_text="The path's pattern; empty if it was unknown, or not looked at."
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,  # `early_refusal_user` starts with this column
        help_text="The user whom the token names. Only the limits of an address refuse requests with a valid token.",
    )
    requests = models.PositiveBigIntegerField()

    class Meta:
        ordering = ("-hour",)
        default_permissions = ()  # whoever may view requests may view these
        constraints = (
            models.UniqueConstraint(
                fields=("hour", "status", "reason", "route", "user"), name="early_refusal_once", nulls_distinct=False
            ),
        )
        indexes = (
            models.Index(fields=("user", "-hour"), name="early_refusal_user", condition=Q(user__isnull=False)),
            models.Index(fields=("hour",), include=("reason", "requests"), name="early_refusal_sums"),
        )

    def __str__(self) -> str:
        return f"{self.reason or self.status} at {self.hour:%Y-%m-%d %H}h"


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
