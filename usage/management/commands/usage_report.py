"""Prints usage from the ledger and the request counts."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from usage.reports.queries import Grouping, ReportRow, ledger_report

NAMELESS = {"user": "(deleted accounts)", "organization": "(none, or deleted)"}
COLUMNS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "thinking_tokens",
    "cost_micros",
    "unpriced_calls",
)
FIRST_COLUMNS = {"user": ("requests",), "organization": ("id",)}
NAME_WIDTH = 40


class Command(BaseCommand):
    help = (
        "Print tokens, calls to the model, their cost, and requests of a time span (days in UTC, this month by "
        "default), the most tokens first. Costs are in the currency of the prices, in millionths of it as CSV and "
        "JSON; calls of a model that had no price are unpriced. As CSV, a name that a spreadsheet would take for a "
        "formula has an apostrophe before it; as JSON names are exact."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="first day (default: first of this month)")
        parser.add_argument("--until", type=_day, metavar="YYYY-MM-DD", help="last day (default: today)")
        parser.add_argument("--by", choices=tuple(get_args(Grouping)), default="user", help="default: user")
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")

    def handle(self, *args: Any, **options: Any) -> None:
        today = timezone.now().date()
        until: date = options["until"] or today
        since: date = options["since"] or min(today, until).replace(day=1)
        if since > until:
            raise CommandError(f"--since {since} is after --until {until}.")
        by = options["by"]
        rows = ledger_report(by=by, since=_midnight(since), until=_midnight(until + timedelta(days=1)))
        columns = (*FIRST_COLUMNS.get(by, ()), *COLUMNS)
        try:
            if options["format"] == "csv":
                self._write_csv(by, columns, rows)
            elif options["format"] == "json":
                self._write_json({"since": str(since), "until": str(until), "by": by}, columns, rows)
            else:
                self.stdout.write(f"{since} to {until}, UTC, by {by}")
                self._write_table(by, columns, rows)
            self.stdout.flush()
        except BrokenPipeError:
            # The reader, for example `head`, has closed the pipe. Python's final flush must not fail on it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _write_table(self, by: str, columns: tuple[str, ...], rows: Iterator[ReportRow]) -> None:
        headings = (f"{name.removesuffix('_micros'):>17}" for name in columns)
        self.stdout.write(f"{by:<{NAME_WIDTH}}" + "".join(headings))
        totals: dict[str, int | None] = {name: None if name == "id" else 0 for name in columns}
        for row in rows:
            values = _values(row, columns)
            for name, total in totals.items():
                totals[name] = None if total is None else total + (values[name] or 0)
            self._write_line(_printable(row.name or NAMELESS[by]), values)
        self._write_line("all", totals)

    def _write_line(self, name: str, values: dict[str, int | None]) -> None:
        self.stdout.write(f"{name:<{NAME_WIDTH}}" + "".join(f"{_cell(*item):>17}" for item in values.items()))

    def _write_csv(self, by: str, columns: tuple[str, ...], rows: Iterator[ReportRow]) -> None:
        writer = csv.writer(self.stdout, lineterminator="\n")
        writer.writerow([by, *columns])
        for row in rows:
            writer.writerow([_plain(row.name or NAMELESS[by]), *_values(row, columns).values()])

    def _write_json(self, span: dict[str, str], columns: tuple[str, ...], rows: Iterator[ReportRow]) -> None:
        """Write one JSON object while the rows arrive; a deleted account has the name null."""
        self.stdout.write(json.dumps(span)[:-1] + ', "rows": [', ending="")
        separator = "\n"
        for row in rows:
            self.stdout.write(separator + json.dumps({"name": row.name, **_values(row, columns)}), ending="")
            separator = ",\n"
        self.stdout.write("\n]}")


def _values(row: ReportRow, columns: tuple[str, ...]) -> dict[str, int | None]:
    values = {**asdict(row), "total_tokens": row.total_tokens}
    return {name: values[name] for name in columns}


def _cell(column: str, value: int | None) -> str:
    if value is None:
        return ""
    return f"{Decimal(value) / 1_000_000:.6f}" if column == "cost_micros" else str(value)


def _printable(name: str) -> str:
    """On one line and without control characters of a terminal: users name their organizations themselves."""
    return "".join(character if character.isprintable() else " " for character in name)


def _plain(name: str) -> str:
    """Without a formula for spreadsheets: they show the text after an apostrophe unchanged."""
    name = _printable(name)
    return f"'{name}" if name.lstrip().startswith(("=", "+", "-", "@")) else name


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-11-21") from None
    if not 1970 <= day.year <= 9998:
        raise argparse.ArgumentTypeError(f"{text} is out of range")
    return day


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)
