"""The pages of the admin beside 100,000 users and two million requests: each page that its lists, filters and charts
lead to, with its queries."""

from __future__ import annotations

import html
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
import psycopg

from bench import usage_data
from bench.scenarios import Measured, Scenario, Target
from bench.site import Site

FLOOR = "/admin/usage/requestrecord/find/"  # nothing but the frame of each page
SPANS = (1, 7, 30, 90)
MAX_QUERIES = 20
JUDGED = 1000  # replies of each kind of the quality page, all of today
CONVERSATIONS = 2000  # of one user

# Counts are of each user, and of the whole table where no user is named.
_ACCOUNTS = (
    """
    INSERT INTO accounts_session (id, user_id, kind, device_name, user_agent, ip, created_at, last_used_at, expires_at,
                                  ended_at, end_reason, generation, used_generation)
    SELECT gen_random_uuid(), id, 'api', 'Phone', 'EdgeChat/1.0 (phone)', '192.0.2.1', at, at, at + interval '7 days',
           CASE WHEN number = 2 THEN at END, CASE WHEN number = 2 THEN 'logged_out' ELSE '' END, 3, 2
      FROM (SELECT id, number, now() - random() * interval '30 days' AS at
              FROM accounts_user, generate_series(1, 2) AS number WHERE email LIKE %(people)s) AS drawn
    """,
    """
    INSERT INTO accounts_apikey (id, user_id, name, prefix, digest, scopes, created_at, ended_at, end_reason)
    SELECT gen_random_uuid(), id, 'A program', 'ec_' || id, md5(id::text), ARRAY['ai'], at,
           CASE WHEN id %% 20 = 0 THEN at END, CASE WHEN id %% 20 = 0 THEN 'ended_by_user' ELSE '' END
      FROM (SELECT id, now() - random() * interval '90 days' AS at
              FROM accounts_user WHERE email LIKE %(people)s AND id %% 5 = 0) AS drawn
    """,
    """
    INSERT INTO accounts_auditevent (event, created_at, actor_id, user_id, ip, request_id, details, organization_id)
    SELECT (ARRAY['registered', 'login', 'login_failed', 'session_ended', 'login'])[number], at, id, id, '192.0.2.1',
           md5(concat(id, '-', number)), '{}', CASE WHEN id %% 1000 = 0 THEN id %% 100 END
      FROM (SELECT id, number, now() - (90 - 18 * number + random()) * interval '1 day' AS at
              FROM generate_series(1, 5) AS number, accounts_user WHERE email LIKE %(people)s) AS drawn
     ORDER BY at
    """,
    """
    INSERT INTO conversations_todo (owner_id, title, description, completed, archived, conversation_id, message_id,
                                    found_hash, created_at)
    SELECT id, 'Buy milk', NULL, number = 1, id %% 10 = 0, '', '', '', now()
      FROM generate_series(1, 2) AS number, accounts_user WHERE email LIKE %(people)s
    """,
    """
    INSERT INTO usage_budget (user_id, period, token_limit)
    SELECT id, 'month', 1000 * (id %% 1000) FROM accounts_user WHERE email LIKE %(people)s AND id %% 10 = 0
    """,
    # 140 in each hour of 90 days, of users and of nobody.
    """
    INSERT INTO usage_earlyrefusal (hour, status, reason, route, user_id, requests)
    SELECT date_trunc('hour', now()) - hour * interval '1 hour', CASE kind WHEN 0 THEN 401 ELSE 429 END,
           (ARRAY['not_authenticated', 'rate_limited:address'])[1 + least(kind, 1)], 'chat/conversations',
           CASE WHEN kind > 0 THEN first + (hour * 139 + kind) %% 50000 END, 1 + hour %% 7
      FROM generate_series(0, 2159) AS hour, generate_series(0, 139) AS kind,
           (SELECT min(id) AS first FROM accounts_user WHERE email LIKE %(people)s) AS people
    """,
)
# Links that change nothing, and lead to more rows rather than to one of many like it.
_FOLLOWED = re.compile(r'href="((?:/admin/|\?)[^"#]*)"')
_NOT_FOLLOWED = re.compile(r"/(add|delete|history|logout|password|password_change|jsi18n|autocomplete|transcript)\b")
_LIST = re.compile(r"/admin/\w+/\w+/")
_OWN_VALUES = {
    "user",
    "model",
    "route",
    "organization",
    "member",
    "p",
    "from",
    "to",
    "q",
    "day",
    "before",
    "request_id",
}


class StaffLists(Scenario):
    """The slowest page's time. `details` has a line for each page: its queries, its CPU time, its median and its worst
    time. On a busy machine the CPU time tells more."""

    name = "staff-lists"
    title = f"the slowest page of the admin, {usage_data.DATA}"
    unit = "ms"
    target = Target(300)

    def prepare(self, site: Site) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)
        self._used: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        heavy = usage_data.fill_usage(site)
        fill_accounts(site)
        fill_conversations(site)
        with _browser(site) as browser:
            self._pages = _crawl(browser, heavy.email)
            for _ in range(2):  # both workers
                browser.get(FLOOR)

    def measure(self, site: Site) -> Measured:
        with _browser(site) as browser:
            for page in (FLOOR, *self._pages.values()):
                before = site.watch.begin()
                self._times[page].append(_milliseconds(browser, page))
                self._used[page].append(site.watch.used_since(before))
        last = {page: times[-1] for page, times in self._times.items()}
        return Measured(max(last.values()), floor=last[FLOOR])

    def details(self) -> str:
        """The pages as a table in Markdown, the slowest first."""
        medians = {page: statistics.median(times) for page, times in self._times.items()}
        queries = {page: round(min(each["commands.postgres"] for each in used)) for page, used in self._used.items()}
        cpu = {page: statistics.median(map(_cpu_milliseconds, used)) for page, used in self._used.items()}
        floor = medians[FLOOR]
        worst = {page: max(times) for page, times in self._times.items()}
        lines = [
            f"| {page} | {queries[page]} | {cpu[page]:,.0f} | {median:,.0f} | {worst[page]:,.0f} |"
            for page, median in sorted(medians.items(), key=lambda each: -each[1])
        ]
        late = [page for page, median in medians.items() if median > 300]
        many = [page for page, number in queries.items() if number > MAX_QUERIES]
        return "\n".join(
            [
                f"{len(medians)} pages of the admin; {len(late)} take more than 300 ms, {len(many)} make more than"
                f" {MAX_QUERIES} queries. Queries include BEGIN and COMMIT. The floor, a page without rows, takes"
                f" {floor:.0f} ms and {cpu[FLOOR]:.0f} ms of CPU. A CSV file is timed to its first bytes.\n",
                "| page | queries | CPU ms | median ms | worst ms |",
                "| --- | ---: | ---: | ---: | ---: |",
                *lines,
            ]
        )


def fill_accounts(site: Site) -> None:
    """Sessions, keys, audit events, todos and budgets of the users of `usage_data`."""
    if site.sql("SELECT 1 FROM accounts_apikey LIMIT 1"):
        return
    with psycopg.connect(site.env["DATABASE_URL"], autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in _ACCOUNTS:
            connection.execute(statement, {"people": "%@example.org"})
        connection.execute("VACUUM ANALYZE")


def fill_conversations(site: Site) -> None:
    """Many conversations of one user, and today's replies of each kind that the quality page lists."""
    with site.mongo() as database:
        if database["conversations"].find_one({"_id": f"{1:024x}"}):
            return
    person, first = site.new_conversations(1)[0]
    site.post(person, f"chat/conversations/{first}/messages", {"content": "Hello"})
    now = datetime.now(UTC)
    with site.mongo() as database:
        conversation = database["conversations"].find_one({"_id": first}) or {}
        reply = database["messages"].find_one({"conversation_id": first, "role": "model"}) or {}
        conversations = [
            {**conversation, "_id": f"{number:024x}", "change": 10**6 + number, "creation_key": None}
            for number in range(1, CONVERSATIONS + 1)
        ]
        database["conversations"].insert_many(conversations)
        for kind, start in (("failed", 0), ("blocked", 1), ("interrupted", 2), ("disliked", 3)):
            changed: dict[str, Any] = {"feedback": {"rating": "down"}} if kind == "disliked" else {"status": kind}
            copies = [
                {
                    **reply,
                    "_id": f"{number + 1:024x}:{start + 2:08d}",
                    "conversation_id": f"{number + 1:024x}",
                    "seq": start + 2,
                    "created_at": now - timedelta(milliseconds=number),
                    **changed,
                }
                for number in range(JUDGED)
            ]
            database["messages"].insert_many(copies)


def _browser(site: Site) -> httpx2.Client:
    """A superuser's browser, whose password was given just now."""
    return httpx2.Client(
        base_url=site.web.url, headers={"Cookie": usage_data.superuser_cookie(site)}, timeout=120, trust_env=False
    )


def _crawl(browser: httpx2.Client, email: str) -> dict[str, str]:
    """One address of each kind of page that the first page, a user and the lists lead to."""
    found: dict[Any, str] = {}
    starts = [
        "/admin/",
        *(f"/admin/?{_span(days)}" for days in SPANS),
        *(f"/admin/usage/ledgerentry/users/?{_span(days)}" for days in SPANS),
        f"/admin/usage/requestrecord/find/?q={quote(email)}",
        "/admin/usage/requestrecord/find/?q=user-1",
        f"/admin/accounts/user/?q={quote(email)}",
    ]
    found.update(zip(starts, starts, strict=True))
    waiting = list(starts)
    while waiting:
        address = waiting.pop()
        page = browser.get(address)
        if page.status_code != 200 or "html" not in page.headers["Content-Type"]:
            raise RuntimeError(f"{address} is answered {page.status_code}")
        for link in _links(address, page.text):
            if (kind := _kind(link)) not in found:
                found[kind] = link
                # A filtered list offers combinations of filters: one filter at a time is enough.
                waiting += [] if "?" in link or ".csv" in link else [link]
        if _LIST.fullmatch(address):
            found |= {kind: f"{address}?q={quote(kind[1])}" for kind in ((address, "user-12"), (address, email))}
    return {str(kind): address for kind, address in found.items()}


def _links(address: str, text: str) -> Iterator[str]:
    for link in dict.fromkeys(map(html.unescape, _FOLLOWED.findall(text))):
        whole = urlsplit(address).path + link if link.startswith("?") else link
        if not _NOT_FOLLOWED.search(whole) and not whole.startswith("/admin/usage/requestrecord/find/?"):
            yield whole


def _kind(address: str) -> str:
    """The same for pages that differ only in whose rows, or which days, they show."""
    parts = urlsplit(address)
    path = re.sub(r"/(\d+|[0-9a-f]{24}|[0-9a-f-]{36})(?=/)", "/#", parts.path)
    values = {
        name: "" if name in _OWN_VALUES or re.match(r"\d{4}-\d\d-\d\d", value) else value
        for name, value in parse_qsl(parts.query)
    }
    if not values.get("slower", "000").endswith("000"):  # a percentile of a day
        values["slower"] = ""
    return f"{path}?{sorted(values.items())}"


def _milliseconds(browser: httpx2.Client, address: str) -> float:
    """To the whole page, or to the first bytes of a file."""
    began = time.perf_counter()
    with browser.stream("GET", address) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{address} is answered {answer.status_code}")
        for _ in answer.iter_raw():
            if ".csv" in address:
                break
        return (time.perf_counter() - began) * 1000


def _cpu_milliseconds(used: Mapping[str, float]) -> float:
    """Of the web processes and the stores."""
    return 1000 * sum(value for name, value in used.items() if name.startswith("cpu."))


def _span(days: int) -> str:
    today = datetime.now(UTC).date()
    return f"from={today - timedelta(days=days - 1)}&to={today}"
