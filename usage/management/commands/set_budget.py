"""Limits the tokens of a user or an organization."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Organization, User
from usage.ledger.budgets import DEFAULT, Limit, Period, default_limit
from usage.ledger.queries import limit_of
from usage.ledger.services import set_budget
from usage.models import Budget

MAX_NUMBER = 2**63 - 1


class Command(BaseCommand):
    help = (
        "Set how many tokens a user or an organization may use in a calendar month or day (UTC). "
        "Tokens that were used earlier in the period count too."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--user", metavar="EMAIL|ID")
        owner.add_argument("--organization", metavar="ID")
        parser.add_argument("--period", choices=Budget.Period.values, default="month", help="default: month")
        limit = parser.add_mutually_exclusive_group(required=True)
        limit.add_argument("--tokens", metavar="N", type=_tokens, help="0: no tokens")
        limit.add_argument("--unlimited", action="store_true", help="no limit, also if MONTHLY_TOKEN_LIMIT is set")
        limit.add_argument("--default", action="store_true", help="remove the budget of this period")
        parser.add_argument("--dry-run", action="store_true", help="only print what would change")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        subject = _organization(options["organization"]) if options["user"] is None else _user(options["user"])
        name = f"user {subject.pk}, {subject.email}," if isinstance(subject, User) else f"organization {subject.pk}"
        period: Period = options["period"]
        before, after = limit_of(subject, period), DEFAULT if options["default"] else options["tokens"]
        if before == after:
            self.stdout.write(f"{name} has {_described(before, period)} already.")
        elif options["dry_run"]:
            self.stdout.write(f"{name} has {_described(before, period)}, and would have {_described(after, period)}.")
        else:
            set_budget(subject=subject, period=period, token_limit=after)
            self.stdout.write(f"{name} had {_described(before, period)}, and has {_described(after, period)} now.")


def _user(text: str) -> User:
    # Every address contains an @, and no id does.
    user = User.objects.with_email(text) if "@" in text else User.objects.filter(pk=_number(text) or 0).first()
    if user is None:
        raise CommandError(f"There is no user {text}.")
    return user


def _organization(text: str) -> Organization:
    organization = Organization.objects.filter(pk=_number(text) or 0).first()
    if organization is None:
        raise CommandError(f"There is no organization {text}.")
    return organization


def _number(text: str) -> int | None:
    """The number; None if the text is not a number or exceeds PostgreSQL's range."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_NUMBER else None


def _tokens(text: str) -> int:
    tokens = _number(text)
    if tokens is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tokens from 0 to {MAX_NUMBER}")
    return tokens


def _described(limit: Limit, period: Period) -> str:
    if limit == DEFAULT:
        return f"the default, {_described(default_limit(period), period)}"
    return f"{'no limit of' if limit is None else limit} tokens a {period}"
