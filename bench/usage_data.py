"""A database with history: three months of users, requests and calls to the model, with their sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from bench.site import Person, Site

USERS = 100_000
REQUESTS = 2_000_000
HEAVY_REQUESTS = REQUESTS // 10  # of one user; the other users' requests have a long tail
CALLS = 500_000
DAYS = 90
ORGANIZATIONS = 100
MEMBERS = 50  # of each organization
_SLICE = 50_000
DATA = f"{REQUESTS:,} requests of {USERS:,} users, {CALLS:,} calls"

USERS_STATEMENT = """
    INSERT INTO accounts_user (password, is_superuser, is_staff, email, email_key, full_name, is_active, is_verified,
                               created_at, updated_at)
    SELECT '!', false, false, email, email, '', true, true, %(since)s, %(since)s
      FROM generate_series(%(first)s, %(last)s) AS number, concat('user-', number, '@', %(domain)s) AS email
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
    INSERT INTO usage_requestrecord (user_id, at, method, route, status, milliseconds, request_id, key)
    SELECT CASE WHEN number %% %(every)s = 0 THEN %(heavy)s
                ELSE %(user)s + floor(%(users)s * power(random(), 3))::bigint END,
           %(since)s + interval '1 day' * %(days)s * number / %(requests)s,
           'GET', (ARRAY['api/v1/chat/conversations', 'api/v1/usage/me', 'api/v1/auth/me'])[1 + number %% 3],
           CASE WHEN number %% 50 = 0 THEN 404 WHEN number %% 500 = 1 THEN 503 WHEN number %% 400 = 3 THEN 429
                ELSE 200 END,
           1 + 3000 * power(random(), 8), md5(number::text), 'bench-' || number
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


# What SQL cannot know: a superuser's cookie, as the admin's login sets it.
_SUPERUSER = """
from django.conf import settings
from django.contrib.auth import login
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.http import HttpRequest
from accounts.models import User
request = HttpRequest()
request.session = SessionStore()
login(request, User.objects.with_email("root@example.com") or User.objects.create_superuser("root@example.com"))
request.session.save()
print(f"{settings.SESSION_COOKIE_NAME}={request.session.session_key}")
"""


def superuser_cookie(site: Site) -> str:
    """NAME=VALUE of a login of just now."""
    return site.manage("shell", "--verbosity=0", "-c", _SUPERUSER).strip().splitlines()[-1]


def usage_me(site: Site, clients: int) -> list[str]:
    return [site.request("GET", "usage/me", person=fill_usage(site))] * clients


def dashboard(site: Site, clients: int) -> list[str]:
    fill_usage(site)
    cookie = superuser_cookie(site)
    return [f"GET /admin/ HTTP/1.1\r\nHost: {site.address}\r\nCookie: {cookie}\r\n\r\n"] * clients


def fill_usage(site: Site) -> Person:
    """Create the data once for each site, and its sums. Returns the user with most requests."""
    person = site.person(0)
    if site.sql("SELECT 1 FROM accounts_user WHERE email LIKE '%@example.org' LIMIT 1"):
        return person
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "since": now - timedelta(days=DAYS),
        "days": DAYS,
        "heavy": site.sql("SELECT id FROM accounts_user WHERE email = %s", [person.email])[0][0],
        "every": REQUESTS // HEAVY_REQUESTS,
        "users": max(1000, int(USERS * site.scale)),
        "requests": max(1000, int(REQUESTS * site.scale)),
        "calls": max(1000, int(CALLS * site.scale)),
        "organizations": ORGANIZATIONS,
        "members": min(MEMBERS, max(1, int(MEMBERS * site.scale))),
        "domain": "example.org",
    }
    with psycopg.connect(site.env["DATABASE_URL"], autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        # The new rows refer only to new rows, so two million foreign key checks are skipped.
        connection.execute("SET session_replication_role = replica")
        _insert(connection, USERS_STATEMENT, "users", values)
        first = connection.execute("SELECT min(id) FROM accounts_user WHERE email LIKE '%@example.org'").fetchone()
        values["user"] = first[0] if first else 0
        connection.execute(_ORGANIZATIONS, values)
        _insert(connection, _REQUESTS, "requests", values)
        _insert(connection, _CALLS, "calls", values)
        connection.execute(
            "INSERT INTO usage_modelprice"
            " (model, valid_from, input_micros, cached_input_micros, output_micros, updated_at)"
            " SELECT unnest(ARRAY['model-a', 'model-b']), %(since)s, 300000, 75000, 2500000, %(since)s",
            values,
        )
        connection.execute("UPDATE usage_recorderposition SET costs_until = %s", [now.date()])
        site.manage("rebuild_usage")
        connection.execute("VACUUM ANALYZE")  # otherwise autovacuum may run during a measurement
    return person


def _insert(connection: psycopg.Connection[Any], statement: str, count: str, values: dict[str, Any]) -> None:
    """Insert rows 1 to `values[count]`, in batches."""
    for first in range(1, values[count] + 1, _SLICE):
        connection.execute(statement, {**values, "first": first, "last": min(first + _SLICE - 1, values[count])})
