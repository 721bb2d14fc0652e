"""The ledger of a time span, summed up by user, organization, purpose or model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db import connection

from usage.ledger.prices import PAID_MODEL

Grouping = Literal["user", "organization", "purpose", "model"]
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class ReportRow:
    """`id`: the id of an organization, because names of organizations are not unique.

    `name`: an e-mail, an organization, a purpose or the model that answered; None for deleted accounts and
    organizations, and for calls without an organization. `requests`: to the API, by this user; None for other
    groupings, which request counts do not have. `cost_micros`: of the calls with a price, in millionths of its
    currency.
    """

    id: int | None
    name: str | None
    requests: int | None
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    thinking_tokens: int
    cost_micros: int
    unpriced_calls: int

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


_SUMS = """
    count(*) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cached_tokens) AS cached,
    sum(thinking_tokens) AS thinking, coalesce(sum(cost_micros), 0) AS cost,
    count(*) FILTER (WHERE cost_micros IS NULL) AS unpriced
"""
_SPAN = "settled_at >= %(since)s AND settled_at < %(until)s"

_BY_USER = f"""
    SELECT NULL, users.email, coalesce(requests, 0), coalesce(calls, 0), coalesce(input, 0), coalesce(output, 0),
           coalesce(cached, 0), coalesce(thinking, 0), coalesce(cost, 0), coalesce(unpriced, 0)
      FROM (SELECT user_id, {_SUMS} FROM usage_ledgerentry WHERE {_SPAN} GROUP BY user_id) AS ledger
      FULL JOIN (SELECT user_id, sum(requests) AS requests
                   FROM usage_hourlyusage WHERE hour >= %(since)s AND hour < %(until)s
                  GROUP BY user_id HAVING sum(requests) > 0) AS hourly USING (user_id)
      LEFT JOIN accounts_user AS users ON users.id = user_id
     ORDER BY coalesce(input, 0) + coalesce(output, 0) DESC, coalesce(requests, 0) DESC, user_id
"""  # noqa: S608  (constants)
_BY_ORGANIZATION = f"""
    SELECT organization_id, organizations.name, NULL, calls, input, output, cached, thinking, cost, unpriced
      FROM (SELECT organization_id, {_SUMS} FROM usage_ledgerentry WHERE {_SPAN} GROUP BY organization_id) AS ledger
      LEFT JOIN accounts_organization AS organizations ON organizations.id = organization_id
     ORDER BY input + output DESC, organization_id
"""  # noqa: S608
_BY_KIND = f"""
    SELECT NULL, {{kind}} AS kind, NULL, {_SUMS}
      FROM usage_ledgerentry WHERE {_SPAN}
     GROUP BY kind ORDER BY sum(input_tokens) + sum(output_tokens) DESC, kind
"""  # noqa: S608
_QUERIES: dict[Grouping, str] = {
    "user": _BY_USER,
    "organization": _BY_ORGANIZATION,
    "purpose": _BY_KIND.format(kind="purpose"),
    "model": _BY_KIND.format(kind=PAID_MODEL),
}


def ledger_report(*, by: Grouping, since: datetime, until: datetime) -> Iterator[ReportRow]:
    """The sums of settled calls and answered requests from `since` to before `until`, the most tokens first.

    PostgreSQL returns a thousand rows at a time, so memory does not grow with their number.
    """
    with connection.chunked_cursor() as cursor:
        cursor.execute(_QUERIES[by], {"since": since, "until": until})
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            for key, name, requests, *sums in rows:
                counted = None if requests is None else int(requests)
                yield ReportRow(key, name, counted, *(int(value) for value in sums))
