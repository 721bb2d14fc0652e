"""A database with history: three months of users, requests and calls to the model, with their sums."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone
from tqdm import tqdm

from bench.site import Person, Site

USERS = 100_000
REQUESTS = 2_000_000
HEAVY_REQUESTS = REQUESTS // 10  # of one user; the other users' requests have a long tail
CALLS = 200_000
DAYS = 90
ORGANIZATIONS = 100
MEMBERS = 50  # of each organization
_SLICE = 50_000

_USERS = """
    INSERT INTO accounts_user (password, is_superuser, is_staff, email, email_key, full_name, is_active, is_verified,
                               created_at, updated_at)
    SELECT '!', false, false, email, email, '', true, true, %(since)s, %(since)s
      FROM generate_series(%(first)s, %(last)s) AS number, concat('user-', number, '@example.org') AS email
"""
_ORGANIZATIONS = """
    WITH made AS (
        INSERT INTO accounts_organization (name, created_at)
        SELECT 'Organization ' || number, %(since)s FROM generate_series(1, %(organizations)s) AS number
        RETURNING id
    )
    INSERT INTO accounts_membership (organization_id, user_id, invited_email, role, created_at)
    SELECT id, %(user)s + (row_number() OVER () - 1) / %(members)s * %(members)s + member, '', 'member', %(since)s
      FROM made, generate_series(0, %(members)s - 1) AS member
"""
# In order of time, as they arrive. The cube of a random number has a long tail.
_REQUESTS = """
    INSERT INTO usage_requestrecord (user_id, at, method, route, status, milliseconds)
    SELECT CASE WHEN number %% %(every)s = 0 THEN %(heavy)s
                ELSE %(user)s + floor(%(users)s * power(random(), 3))::bigint END,
           %(since)s + interval '1 day' * %(days)s * number / %(requests)s,
           'GET', (ARRAY['api/v1/chat/conversations', 'api/v1/usage/me', 'api/v1/auth/me'])[1 + number %% 3],
           CASE WHEN number %% 50 = 0 THEN 404 WHEN number %% 500 = 1 THEN 503 ELSE 200 END,
           1 + 3000 * power(random(), 8)
      FROM generate_series(%(first)s, %(last)s) AS number
"""
# Each fifth call is for an organization. One of three models has no price.
_CALLS = """
    INSERT INTO usage_ledgerentry (attempt_id, user_id, organization_id, purpose, model, input_tokens, output_tokens,
                                   cached_tokens, thinking_tokens, estimated, opened_at, reserved_tokens, cost_micros,
                                   holder, abandoned_after, settled_at)
    SELECT 'bench:' || number, coalesce(member.user_id, CASE WHEN number %% 20 = 1 THEN %(heavy)s
                                                             ELSE %(user)s + floor(%(users)s * power(chance, 3)) END),
           member.organization_id, 'chat', (ARRAY['model-a', 'model-b', 'unpriced'])[1 + number %% 3], input, output,
           0, 0, false, at, 0, CASE WHEN number %% 3 < 2 THEN (input * 3 + output * 25) / 10 END, '', at, at
      FROM (SELECT number, random() AS chance, 10 + floor(2000 * power(random(), 2))::int AS input,
                   10 + floor(800 * random())::int AS output,
                   %(since)s + interval '1 day' * %(days)s * number / %(calls)s AS at
              FROM generate_series(%(first)s, %(last)s) AS number) AS drawn
      LEFT JOIN (SELECT user_id, organization_id, row_number() OVER (ORDER BY id) AS place
                   FROM accounts_membership WHERE user_id >= %(user)s) AS member
        ON number %% 5 = 0 AND place = 1 + floor(chance * %(organizations)s * %(members)s)
"""


@functools.cache
def fill_usage(site: Site) -> Person:
    """Create the data once for each run, and its sums as `rebuild_usage` does. Returns the user with most requests."""
    from accounts.models import User
    from usage.models import ModelPrice, RecorderPosition
    from usage.rebuild import TABLES, rebuild_usage

    person = site.person(0)
    heavy = User.objects.get(email=person.email).pk
    now = timezone.now()
    values: dict[str, Any] = {
        "since": now - timedelta(days=DAYS),
        "days": DAYS,
        "heavy": heavy,
        "every": REQUESTS // HEAVY_REQUESTS,
        "users": USERS,
        "requests": REQUESTS,
        "calls": CALLS,
        "organizations": ORGANIZATIONS,
        "members": MEMBERS,
    }
    with connection.cursor() as cursor:
        # The new rows refer only to new rows, so two million foreign key checks are skipped.
        cursor.execute("SET session_replication_role = replica")
    with _bar(total=USERS + REQUESTS + CALLS, unit="row", unit_scale=True) as bar:
        _insert(_USERS, USERS, values, bar.update)
        values["user"] = User.objects.filter(email__endswith="@example.org").earliest("pk").pk
        with connection.cursor() as cursor:
            cursor.execute(_ORGANIZATIONS, values)
        _insert(_REQUESTS, REQUESTS, values, bar.update)
        _insert(_CALLS, CALLS, values, bar.update)
    ModelPrice.objects.bulk_create(
        ModelPrice(model=model, input_micros=300_000, cached_input_micros=75_000, output_micros=2_500_000)
        for model in ("model-a", "model-b")
    )
    RecorderPosition.objects.update(costs_until=now.date())
    with _bar(total=len(TABLES), unit="table") as bar:
        for _ in rebuild_usage():
            bar.update()
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # otherwise autovacuum may run during a measurement
    connection.close()
    return person


def _insert(statement: str, count: int, values: dict[str, Any], made: Callable[[int], object]) -> None:
    """Insert rows 1 to `count`, in batches."""
    with connection.cursor() as cursor:
        for first in range(1, count + 1, _SLICE):
            last = min(first + _SLICE - 1, count)
            cursor.execute(statement, {**values, "first": first, "last": last})
            made(last - first + 1)


def _bar(**options: Any) -> Any:
    """A bar below the run's own. Without a terminal each refreshed line stays, so there are fewer lines."""
    every = 0.1 if sys.stdout.isatty() else 10.0
    return tqdm(file=sys.stdout, position=1, leave=False, mininterval=every, **options)
