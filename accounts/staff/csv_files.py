"""CSV files of the admin, written while they are read."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from html import unescape
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

from accounts.open_calls.registry import open_staff_call
from accounts.staff.exports import audited_body
from edgechat.graphemes import cut

MAX_ROWS = 100_000
MAX_SECONDS = 300.0
ROWS_PER_BATCH = 500
MAX_CHARACTERS_OF_A_FILTER = 100

# Spreadsheets take a cell that begins with one of these for a formula. The last four are the full-width forms.
_FORMULA_STARTS = tuple("=+-@\t\r\n") + ("\uff1d", "\uff0b", "\uff0d", "\uff20")  # noqa: RUF005

Row = Iterable[Any]


def csv_response(
    request: HttpRequest, name: str, headers: Row, batches: Callable[[], Iterable[Iterable[Row]]], **details: Any
) -> StreamingHttpResponse:
    """A file of at most MAX_ROWS rows and MAX_SECONDS; its last row says so if it ends early.

    `batches()` yields lists of rows, and only one list is in memory at a time. `details` are for the audit log.
    """
    chosen = {
        key: cut(", ".join(values), MAX_CHARACTERS_OF_A_FILTER)
        for key, values in request.GET.lists()
        if key != "q"  # a search term can be an e-mail address
    }
    searched = bool(request.GET.get("q", "").strip())
    with open_staff_call(request) as call:
        lines = _lines(headers, batches)
        body = audited_body(request, call, lines, file=name, filters=chosen, searched=searched, **details)
        response = StreamingHttpResponse(body, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.now():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _lines(headers: Row, batches: Callable[[], Iterable[Iterable[Row]]]) -> Iterator[bytes]:
    end, left = time.monotonic() + MAX_SECONDS, MAX_ROWS
    yield _encoded([headers])
    for batch in batches():
        rows = list(batch)
        yield _encoded(rows[:left])
        left -= len(rows)
        if left < 0:
            yield _encoded([[f"Only the first {MAX_ROWS} rows: choose fewer with the list's filters"]])
            return
        if time.monotonic() > end:
            yield _encoded([["The file ends here because it took too long: choose fewer rows with the list's filters"]])
            return


def _encoded(rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue().encode(errors="replace")


def csv_cell(value: Any) -> str:
    """A value as the text of a cell: times in UTC, no markup, and never a formula."""
    match value:
        case None | "-":
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
        case date() | int() | float():
            return str(value)
        case SafeString():
            value = unescape(strip_tags(value))
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
