"""The SQL that counts requests."""

# ruff: noqa: S608  (statements are put together from constants)

from __future__ import annotations

from usage.reports.latency import BUCKETS, LIMITS

# The bucket of a row with `milliseconds`, and the sums over rows with `status` and `bucket`, the last a histogram.
_HISTOGRAM = ", ".join(f"count(*) FILTER (WHERE bucket = {number})" for number in range(BUCKETS))
# NULL for long calls: the time until their answer began says nothing about how long they took.
BUCKET = f"CASE WHEN NOT is_long THEN width_bucket(milliseconds::float8, ARRAY{list(LIMITS)}::float8[]) END"
TRAFFIC = f"""count(*) AS requests, count(*) FILTER (WHERE status BETWEEN 400 AND 499) AS client_errors,
               count(*) FILTER (WHERE status >= 500) AS server_errors,
               ARRAY[{_HISTOGRAM}] AS latencies"""

# The sums over rows with `status` that a user's day has of requests.
OF_USER = "count(*) AS requests, count(*) FILTER (WHERE status >= 400) AS failed"

# A duplicate is not inserted, and only inserted records are counted. All parts of the statement see the tables as they
# were before it, so users without earlier requests on a day become active in this statement.
COUNT = f"""
    WITH inserted AS (
        INSERT INTO usage_requestrecord (user_id, at, method, route, status, milliseconds, request_id, is_long,
                                         reason, key)
        SELECT * FROM unnest(%(user_ids)s::bigint[], %(times)s::timestamptz[], %(methods)s::text[], %(routes)s::text[],
                             %(statuses)s::smallint[], %(milliseconds)s::integer[], %(request_ids)s::text[],
                             %(longs)s::boolean[], %(reasons)s::text[], %(keys)s::text[])
        ON CONFLICT (key) DO NOTHING
        RETURNING user_id, at, (at AT TIME ZONE 'UTC')::date AS date, status, {BUCKET} AS bucket
    ), hourly AS (
        INSERT INTO usage_hourlyusage (user_id, hour, requests, input_tokens, output_tokens)
        SELECT user_id, date_trunc('hour', at, 'UTC') AS hour, count(*), 0, 0
          FROM inserted
         GROUP BY user_id, hour
         ORDER BY user_id, hour
        ON CONFLICT (user_id, hour) DO UPDATE SET requests = usage_hourlyusage.requests + excluded.requests
    ), of_users AS (
        INSERT INTO usage_userday AS sums (user_id, date, requests, failed, calls, unpriced_calls, input_tokens,
                                           output_tokens, cost_micros)
        SELECT user_id, date, {OF_USER}, 0, 0, 0, 0, 0
          FROM inserted
         GROUP BY user_id, date
         ORDER BY user_id, date
        ON CONFLICT (user_id, date) DO UPDATE
           SET requests = sums.requests + excluded.requests,
               failed = sums.failed + excluded.failed
    ), daily AS (
        INSERT INTO usage_dailytraffic AS day
                    (date, active_users, requests, client_errors, server_errors, latencies)
        SELECT date,
               count(DISTINCT user_id) FILTER (WHERE NOT EXISTS (
                   SELECT FROM usage_hourlyusage AS earlier
                    WHERE earlier.user_id = inserted.user_id
                      AND earlier.hour >= inserted.date::timestamp AT TIME ZONE 'UTC'
                      AND earlier.hour < (inserted.date + 1)::timestamp AT TIME ZONE 'UTC'
                      AND earlier.requests > 0
               )),
               {TRAFFIC}
          FROM inserted
         GROUP BY date
        ON CONFLICT (date) DO UPDATE
           SET requests = day.requests + excluded.requests,
               client_errors = day.client_errors + excluded.client_errors,
               server_errors = day.server_errors + excluded.server_errors,
               active_users = day.active_users + excluded.active_users,
               latencies = ARRAY(
                   SELECT before + added
                     FROM unnest(day.latencies, excluded.latencies) WITH ORDINALITY AS pair (before, added, bucket)
                    ORDER BY bucket
               )
    )
    SELECT count(*) FROM inserted
"""

# The oldest first. Two simultaneous runs share the work.
DELETE_BATCH = """
    DELETE FROM usage_requestrecord
     WHERE id IN (SELECT id FROM usage_requestrecord WHERE at < %s ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED)
"""
