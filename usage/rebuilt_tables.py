"""The sums that `usage.rebuild` recounts: what each should say, and how it is mended."""

# ruff: noqa: S608  (queries are put together from constants)

from __future__ import annotations

from dataclasses import dataclass

from usage.latency import BUCKETS, LIMITS
from usage.prices import PAID_MODEL


@dataclass(frozen=True)
class RebuiltTable:
    """A table of sums.

    `recounted` and `stored` are queries for rows of `keys` and `sums`, `stored` with the row's `id` in front. `mend`
    are the statements that make the one the other, from the rows of the temporary table `difference`: keys, `row_id`
    (NULL where there is no row), and `was_` and `is_` of each sum. With `keeps_empty` no row is deleted.
    """

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    recounted: str
    stored: str
    mend: tuple[str, ...]
    lock: str = ""
    histogram: str = ""
    keeps_empty: bool = False


def _columns(names: tuple[str, ...], form: str = "{0}", *, separator: str = ", ") -> str:
    return separator.join(form.format(name) for name in names)


def _add_difference(table: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> tuple[str, ...]:
    """For rows that calls add to meanwhile: what they add comes on top, before or after."""
    return (
        f"""UPDATE {table} AS stored SET {_columns(sums, "{0} = stored.{0} + is_{0} - was_{0}")}
              FROM difference WHERE stored.id = row_id""",
        f"""INSERT INTO {table} AS stored ({_columns((*keys, *sums))})
            SELECT {_columns(keys)}, {_columns(sums, "is_{0}")} FROM difference WHERE row_id IS NULL
             ORDER BY {_columns(keys)}
                ON CONFLICT ({_columns(keys)}) DO UPDATE SET {_columns(sums, "{0} = stored.{0} + excluded.{0}")}""",
        f"""DELETE FROM {table} AS stored USING difference
             WHERE stored.id = row_id AND {_columns(sums, "stored.{0} = 0", separator=" AND ")}""",
    )


def _replace(table: str, keys: tuple[str, ...], sums: tuple[str, ...]) -> tuple[str, ...]:
    """For rows that nobody else writes while the position is locked; the first key is never NULL."""
    same = _columns(keys[1:], " AND stored.{0} IS NOT DISTINCT FROM difference.{0}", separator="")
    return (
        f"DELETE FROM {table} AS stored USING difference WHERE stored.{keys[0]} = difference.{keys[0]}{same}",
        f"""INSERT INTO {table} ({_columns((*keys, *sums))})
            SELECT {_columns(keys)}, {_columns(sums, "is_{0}")} FROM difference WHERE is_{sums[0]} > 0
             ORDER BY {_columns(keys)}""",
    )


_USER_HOUR = ("user_id", "hour")
_USER_SUMS = ("requests", "input_tokens", "output_tokens")

HOURLY_USAGE = RebuiltTable(
    name="hourly usage",
    keys=_USER_HOUR,
    sums=_USER_SUMS,
    recounted="""
        SELECT user_id, date_trunc('hour', at, 'UTC') AS hour, count(*) AS requests, 0 AS input_tokens,
               0 AS output_tokens
          FROM usage_requestrecord WHERE at >= %(raw_hour)s::timestamptz GROUP BY 1, 2
        UNION ALL
        SELECT user_id, hour, requests, 0, 0 FROM usage_hourlyusage WHERE hour < %(raw_hour)s::timestamptz
        UNION ALL
        SELECT user_id, date_trunc('hour', settled_at, 'UTC'), 0, sum(input_tokens), sum(output_tokens)
          FROM usage_ledgerentry WHERE settled_at IS NOT NULL AND user_id IS NOT NULL GROUP BY 1, 2
    """,
    stored="SELECT id, user_id, hour, requests, input_tokens, output_tokens FROM usage_hourlyusage",
    mend=_add_difference("usage_hourlyusage", _USER_HOUR, _USER_SUMS),
)

_ORGANIZATION_HOUR = ("organization_id", "user_id", "hour")
_TOKEN_SUMS = ("input_tokens", "output_tokens")

ORGANIZATION_USAGE = RebuiltTable(
    name="organization usage",
    keys=_ORGANIZATION_HOUR,
    sums=_TOKEN_SUMS,
    recounted="""
        SELECT organization_id, user_id, date_trunc('hour', settled_at, 'UTC') AS hour,
               sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
          FROM usage_ledgerentry WHERE settled_at IS NOT NULL AND organization_id IS NOT NULL GROUP BY 1, 2, 3
    """,
    stored="SELECT id, organization_id, user_id, hour, input_tokens, output_tokens FROM usage_organizationusage",
    mend=_add_difference("usage_organizationusage", _ORGANIZATION_HOUR, _TOKEN_SUMS),
)

_TRAFFIC_SUMS = ("requests", "client_errors", "server_errors", "active_users")

DAILY_TRAFFIC = RebuiltTable(
    name="daily traffic",
    keys=("date",),
    sums=_TRAFFIC_SUMS,
    histogram="latencies",
    recounted=f"""
        WITH answered AS NOT MATERIALIZED (
            SELECT (at AT TIME ZONE 'UTC')::date AS date, user_id, status,
                   width_bucket(milliseconds::float8, ARRAY[{_columns(tuple(map(str, LIMITS)))}]::float8[]) AS bucket
              FROM usage_requestrecord WHERE at >= %(raw_day)s::timestamptz
        ), buckets AS MATERIALIZED (
            SELECT date, bucket, count(*) AS requests FROM answered GROUP BY 1, 2
        ), users AS (
            SELECT date, user_id, count(*) AS requests,
                   count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
                   count(*) FILTER (WHERE status >= 500) AS server_errors
              FROM answered GROUP BY 1, 2
        ), days AS (
            SELECT date, sum(requests) AS requests, sum(client_errors) AS client_errors,
                   sum(server_errors) AS server_errors, count(*) AS active_users
              FROM users GROUP BY 1
        )
        SELECT date, requests, client_errors, server_errors, active_users,
               (SELECT array_agg(coalesce(buckets.requests, 0) ORDER BY number)
                  FROM generate_series(0, {BUCKETS - 1}) AS number
                  LEFT JOIN buckets ON buckets.date = days.date AND bucket = number) AS latencies
          FROM days
        UNION ALL
        SELECT date, requests, client_errors, server_errors, active_users, latencies
          FROM usage_dailytraffic WHERE date < (%(raw_day)s::timestamptz AT TIME ZONE 'UTC')::date
    """,
    stored="""
        SELECT 0 AS id, date, requests, client_errors, server_errors, active_users, latencies FROM usage_dailytraffic
    """,
    mend=_replace("usage_dailytraffic", ("date",), (*_TRAFFIC_SUMS, "latencies")),
)

_COST_KEYS = ("date", "model", "organization_id")
_COST_SUMS = ("calls", "unpriced_calls", "input_tokens", "output_tokens", "cost_micros")

DAILY_COST = RebuiltTable(
    name="daily cost",
    keys=_COST_KEYS,
    sums=_COST_SUMS,
    recounted=f"""
        SELECT (settled_at AT TIME ZONE 'UTC')::date AS date, {PAID_MODEL} AS model, organization_id, count(*) AS calls,
               count(*) FILTER (WHERE cost_micros IS NULL) AS unpriced_calls, sum(input_tokens) AS input_tokens,
               sum(output_tokens) AS output_tokens, coalesce(sum(cost_micros), 0) AS cost_micros
          FROM usage_ledgerentry WHERE settled_at < %(costs_until)s::timestamptz GROUP BY 1, 2, 3
    """,
    stored=f"SELECT id, {_columns((*_COST_KEYS, *_COST_SUMS))} FROM usage_dailycost",
    mend=_replace("usage_dailycost", _COST_KEYS, _COST_SUMS),
)


def _spending_of(subject: str) -> str:
    columns = "user_id, NULL::bigint AS organization_id" if subject == "user_id" else "NULL, organization_id"
    return f"""
        SELECT {columns}, sum(input_tokens + output_tokens) AS month_tokens,
               coalesce(sum(input_tokens + output_tokens) FILTER (WHERE settled_at >= %(day)s), 0) AS day_tokens,
               0 AS reserved_tokens
          FROM usage_ledgerentry WHERE settled_at >= %(month)s AND {subject} IS NOT NULL GROUP BY {subject}
        UNION ALL
        SELECT {columns}, 0, 0, sum(reserved_tokens)
          FROM usage_ledgerentry WHERE settled_at IS NULL AND {subject} IS NOT NULL GROUP BY {subject}
    """


SPENDING = RebuiltTable(
    name="spending",
    keys=("user_id", "organization_id"),
    sums=("month_tokens", "day_tokens", "reserved_tokens"),
    recounted=f"{_spending_of('user_id')} UNION ALL {_spending_of('organization_id')}",
    # What is left of a period that is over counts for nothing.
    stored="""
        SELECT id, user_id, organization_id,
               CASE WHEN month = (%(month)s AT TIME ZONE 'UTC')::date THEN month_tokens ELSE 0 END AS month_tokens,
               CASE WHEN day = (%(day)s AT TIME ZONE 'UTC')::date THEN day_tokens ELSE 0 END AS day_tokens,
               reserved_tokens
          FROM usage_spending
    """,
    # A call that ends takes back what it had reserved, but not below nothing: so what is wrong does not stay as wrong
    # as it was, and nobody may write meanwhile. Calls wait as long as a sum of this month's takes.
    keeps_empty=True,
    lock="LOCK TABLE usage_spending IN SHARE ROW EXCLUSIVE MODE",
    mend=(
        """
        UPDATE usage_spending
           SET month = (%(month)s AT TIME ZONE 'UTC')::date, month_tokens = is_month_tokens,
               day = (%(day)s AT TIME ZONE 'UTC')::date, day_tokens = is_day_tokens,
               reserved_tokens = is_reserved_tokens
          FROM difference WHERE id = row_id
        """,
        """
        INSERT INTO usage_spending (user_id, organization_id, month, month_tokens, day, day_tokens, reserved_tokens)
        SELECT user_id, organization_id, (%(month)s AT TIME ZONE 'UTC')::date, is_month_tokens,
               (%(day)s AT TIME ZONE 'UTC')::date, is_day_tokens, is_reserved_tokens
          FROM difference WHERE row_id IS NULL
        """,
    ),
)

TABLES = (HOURLY_USAGE, ORGANIZATION_USAGE, DAILY_TRAFFIC, DAILY_COST, SPENDING)
