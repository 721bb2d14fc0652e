"""Fills a development database with demo data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from usage.rebuild import rebuild_usage

# Where a developer's stores are. None: a socket of this machine.
THIS_MACHINE = frozenset({"", "localhost", "127.0.0.1", "::1"})


class Command(BaseCommand):
    help = (
        "Add people, organizations, conversations, todos, and days of usage with budgets near their end, to look "
        "at. In development only. What is there already stays, so the command can be repeated: it adds the days since."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=60, help="how many days of usage (default: 60)")

    def handle(self, *args: Any, **options: Any) -> None:
        _refuse_real_data()
        if not 1 <= options["days"] <= 365:
            raise CommandError("--days must be from 1 to 365.")
        # They are no part of a deployment.
        from edgechat.local.demo.people import PASSWORD, PEOPLE, seed_people
        from edgechat.local.demo.transcripts import seed_talk, talks_of
        from edgechat.local.demo.usage import days_of_usage, seed_budgets, seed_day

        began, now = time.monotonic(), timezone.now()
        talks = requests = calls = 0
        members, people = seed_people()
        told = [(member, talk) for member in members for talk in talks_of(member)]
        days = days_of_usage(now, count=options["days"])
        with tqdm(total=len(told) + len(days) + 1, unit="step", file=sys.stderr, disable=None) as bar:
            bar.set_description("Conversations")
            for member, talk in told:
                talks += seed_talk(member, talk, now)
                bar.update()
            bar.set_description("Usage")
            for day in days:
                more_requests, more_calls = seed_day(members, day, now)
                requests, calls = requests + more_requests, calls + more_calls
                bar.update()
            bar.set_description("Sums")
            for _ in rebuild_usage():
                pass
            budgets = seed_budgets(members)
            bar.update()
        self.stdout.write(
            f"Added {people} people, {talks} conversations, {requests} requests, {calls} calls to the model, and "
            f"{budgets} budgets in {time.monotonic() - began:.1f} s."
        )
        if not (people or talks or requests or calls or budgets):
            self.stdout.write("All of it was there already.")
        staff = next(person for person in PEOPLE if person.is_staff)
        self.stdout.write(f"Log in as {PEOPLE[0].email}, or as {staff.email} (staff), with the password: {PASSWORD}")


def _refuse_real_data() -> None:
    if not settings.DEVELOPMENT:
        raise CommandError(
            f"Demo data is for development only, and ENVIRONMENT is {settings.ENVIRONMENT}. Nothing was changed."
        )
    for name in ("DATABASE_URL", "MONGODB_URL", "REDIS_URL"):
        for host in _hosts(getattr(settings, name)):
            if host not in THIS_MACHINE and not host.startswith("/"):
                raise CommandError(
                    f"{name} is on {host}, not on this machine: its data may be real. Nothing was changed."
                )


def _hosts(url: str) -> Iterator[str]:
    """The hosts of a store's URL, of which MongoDB's may have several; a folder is that of a socket."""
    parts = urlsplit(url)
    for address in parts.netloc.rpartition("@")[2].split(","):
        yield urlsplit(f"//{address}").hostname or ""
    # For PostgreSQL and Redis these go before the host in its usual place.
    query = parse_qs(parts.query)
    for hosts in (*query.get("host", []), *query.get("hostaddr", [])):
        yield from hosts.split(",")
