"""Sums up the past days of users. What processes of the previous version count meanwhile is missing until
`rebuild_usage` adds it."""

from django.db import migrations

# The index of each table begins with the user. The sums of hours have the requests whose records are deleted.
SUM_UP = """
    INSERT INTO usage_userday (user_id, date, requests, failed, calls, unpriced_calls, input_tokens, output_tokens,
                               cost_micros)
    SELECT user_id, date, sum(requests), sum(failed), sum(calls), sum(unpriced), sum(input), sum(output),
           sum(cost)
      FROM (
          SELECT user_id, (hour AT TIME ZONE 'UTC')::date AS date, requests, 0 AS failed, 0 AS calls,
                 0 AS unpriced, 0 AS input, 0 AS output, 0 AS cost
            FROM usage_hourlyusage WHERE {users} AND requests > 0
          UNION ALL
          SELECT user_id, (at AT TIME ZONE 'UTC')::date, 0, 1, 0, 0, 0, 0, 0
            FROM usage_requestrecord WHERE {users} AND status >= 400
          UNION ALL
          SELECT user_id, (settled_at AT TIME ZONE 'UTC')::date, 0, 0, 1, (cost_micros IS NULL)::int, input_tokens,
                 output_tokens, coalesce(cost_micros, 0)
            FROM usage_ledgerentry WHERE {users} AND settled_at IS NOT NULL
      ) AS counted
     GROUP BY 1, 2
    ON CONFLICT (user_id, date) DO NOTHING
"""
USERS_AT_A_TIME = 1000


def sum_up(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(SUM_UP.format(users="user_id IS NULL"))
        cursor.execute("SELECT coalesce(max(id), 0) FROM accounts_user")
        for first in range(1, cursor.fetchone()[0] + 1, USERS_AT_A_TIME):
            cursor.execute(
                SUM_UP.format(users="user_id BETWEEN %(first)s AND %(last)s"),
                {"first": first, "last": first + USERS_AT_A_TIME - 1},
            )


class Migration(migrations.Migration):
    atomic = False  # a batch is a transaction
    dependencies = [("usage", "0018_user_days")]

    operations = [migrations.RunPython(sum_up, migrations.RunPython.noop)]
