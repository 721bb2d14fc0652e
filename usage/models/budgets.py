"""Limits of tokens, and what is used of them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

_ONE_OWNER = Q(user__isnull=False, organization__isnull=True) | Q(user__isnull=True, organization__isnull=False)


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
