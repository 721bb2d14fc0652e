"""Every row of the table, declared as data. A new figure is one entry here."""

from __future__ import annotations

from functools import partial
from typing import Any

from bson import ObjectId

from bench import (
    login_scenarios,
    overhead_scenarios,
    page_scenarios,
    staff_lists,
    trace_scenarios,
    upload_scenario,
    usage_data,
)
from bench.scenarios import (
    AddedLatency,
    Burst,
    DeltaDelay,
    FastStreams,
    Growth,
    GrowthOfUsers,
    Percentile,
    Scenario,
    StartTime,
    Statements,
    Target,
    Throughput,
    stream_request,
)
from bench.site import Person, Site

WORDS = "word " * 20
LONG_CONVERSATION = 1000  # messages
BATCH = 1000
# Sends go to so many conversations in turn: a conversation that grows in each round would be another measurement.
SENT_TO = 32
SLOW = "Hello [[delay=1]]"
STREAM = f"[[chunks=20]][[gap=0.2]]{WORDS}"
COMPLETE, SENT = '"finish_reason":"STOP"', '"status":"complete"'
# What each request needs at least: the session with its user, and one script that limits and counts.
SIGNED_IN = {"postgres_read": 1, "redis_script": 1}
METERED = {**SIGNED_IN, "postgres_write": 2}  # the ledger entry is opened and settled
SEND = {**METERED, "sdk_stream": 1, "mongo_find": 1, "mongo_insert": 1, "mongo_update": 2, "redis_add": 1}


def of_people(path: str, site: Site, clients: int) -> list[str]:
    return [site.request("GET", path, person=site.person(number)) for number in range(clients)]


def health(site: Site, clients: int) -> list[str]:
    return [site.request("GET", "health")] * clients


def lists(path: str, site: Site, clients: int) -> list[str]:
    people = 8
    site.new_conversations(30 * people, people=people)
    return [site.request("GET", path, person=site.person(number % people)) for number in range(clients)]


def pages(site: Site, clients: int) -> list[str]:
    person, conversation_id = site.new_conversations(1)[0]
    path = f"chat/conversations/{conversation_id}/messages"
    fill_messages(site, person, conversation_id, LONG_CONVERSATION)
    starts = ["latest=true", *(f"before={seq}" for seq in range(101, LONG_CONVERSATION, 101))]
    return [
        site.request("GET", f"{path}?limit=50&{starts[number % len(starts)]}", person=person)
        for number in range(2 * clients)
    ]


def searches(site: Site, clients: int) -> list[str]:
    person, conversation_id = site.new_conversations(1)[0]
    fill_messages(site, person, conversation_id, LONG_CONVERSATION)
    return [site.request("GET", "chat/search?q=word", person=person)] * clients


def sends(content: str, site: Site, count: int) -> list[str]:
    return [
        site.request("POST", f"chat/conversations/{conversation_id}/messages", person=person, body={"content": content})
        for person, conversation_id in site.new_conversations(count)
    ]


def streams(content: str, site: Site, count: int) -> list[str]:
    return [stream_request(site, *conversation, content) for conversation in site.new_conversations(count)]


def fast_streams(site: Site, count: int, chunks: int) -> list[str]:
    return streams(f"[[chunks={chunks}]][[gap=0.02]]{'word ' * chunks}", site, count)


def completions(prompt: str, site: Site, count: int, query: str = "") -> list[str]:
    """Each with another prompt, so that none is answered from the cache."""
    return [
        site.request("POST", f"ai/complete{query}", person=site.person(n), body={"prompt": f"{prompt} {n}"})
        for n in range(count)
    ]


def logins(site: Site, clients: int) -> list[str]:
    people = [site.person(number) for number in range(clients)]
    return [site.request("POST", "auth/login", body={"email": p.email, "password": p.password}) for p in people]


def history_page(site: Site, messages: int) -> str:
    person, conversation_id = site.new_conversations(1)[0]
    fill_messages(site, person, conversation_id, messages)
    return site.request("GET", f"chat/conversations/{conversation_id}/messages?latest=true&limit=10", person=person)


def list_beside_long_conversation(site: Site, messages: int) -> str:
    person = site.new_person()
    conversation_id = new_conversation(site, person)
    fill_messages(site, person, conversation_id, messages)
    return site.request("GET", "chat/conversations", person=person)


def list_of_many(site: Site, conversations: int) -> str:
    """The page has 10 conversations, as many as the smaller user has."""
    person = site.new_person()
    first = new_conversation(site, person)
    with site.mongo() as database:
        document = database["conversations"].find_one({"_id": first}) or {}
        latest = 10**6
        for start in range(1, conversations, BATCH):
            copies = [
                {**document, "_id": str(ObjectId()), "change": latest + number, "creation_key": None}
                for number in range(start, min(start + BATCH, conversations))
            ]
            database["conversations"].insert_many(copies)
        database["owners"].update_one(
            {"_id": document["owner_id"]}, {"$set": {"change": latest + conversations}}, upsert=True
        )
    return site.request("GET", "chat/conversations?limit=10", person=person)


def fill_users(site: Site, users: int) -> None:
    """Users with a session each, until there are that many."""
    (known,) = site.sql("SELECT count(*) FROM accounts_user")
    values: dict[str, Any] = {"first": known[0] + 1, "last": users}
    site.sql(usage_data.USERS_STATEMENT, {**values, "since": "2026-01-01T00:00:00Z", "domain": "growth.example"})
    site.sql("ANALYZE accounts_user")


def new_conversation(site: Site, person: Person) -> str:
    body = site.post(person, "chat/conversations", {"title": "The only one"})
    return str(body["id"])


def fill_messages(site: Site, person: Person, conversation_id: str, messages: int) -> None:
    """Give a conversation that many messages: two are sent, and direct inserts copy them."""
    site.post(person, f"chat/conversations/{conversation_id}/messages", {"content": WORDS})
    with site.mongo() as database:
        sent = sorted(database["messages"].find({"conversation_id": conversation_id}), key=lambda each: each["seq"])
        for first in range(3, messages + 1, BATCH):
            copies = [
                {**sent[(seq - 1) % 2], "_id": f"{conversation_id}:{seq:08d}", "seq": seq}
                for seq in range(first, min(first + BATCH, messages + 1))
            ]
            database["messages"].insert_many(copies)
        counts = {"next_seq": messages + 1, "message_count": messages}
        database["conversations"].update_one({"_id": conversation_id}, {"$set": counts})


def all_rows() -> dict[str, Scenario]:
    """The rows by name, in the order of the table. Each call makes new ones, for another site."""
    rows: list[Scenario] = [
        Throughput("health", "GET /health", health, {}),
        Throughput("me", "GET /auth/me", partial(of_people, "auth/me"), SIGNED_IN, target=Target(800, at_least=True)),
        Throughput(
            "list",
            "GET /chat/conversations, 20 of 30",
            partial(lists, "chat/conversations"),
            {**SIGNED_IN, "mongo_find_20": 1},
        ),
        Throughput(
            "page",
            f"GET .../messages, 50 of {LONG_CONVERSATION}",
            pages,
            {**SIGNED_IN, "mongo_find": 1, "mongo_find_50": 1},
            contains='"role":"model"',
        ),
        Throughput(
            "search",
            f"GET /chat/search in {LONG_CONVERSATION} messages",
            searches,
            {**SIGNED_IN, "mongo_find_20": 2},
            clients=2,
        ),
        Throughput("usage-me", "GET /usage/me", partial(of_people, "usage/me"), {**SIGNED_IN, "postgres_read": 3}),
        Throughput("login", "POST /auth/login", logins, {**SIGNED_IN, "postgres_write": 2}, clients=8),
        upload_scenario.Uploads(),
    ]
    for clients in (1, 8, 32):
        by = f"{clients} client{'s' if clients > 1 else ''}"
        rows += [
            Throughput(
                f"complete-by-{clients}",
                f"POST /ai/complete, instant model, {by}",
                partial(completions, "Hi"),
                {**METERED, "sdk": 1},
                clients=clients,
                contains=COMPLETE,
            ),
            Throughput(
                f"send-by-{clients}",
                f"POST .../messages, instant model, {by}",
                lambda site, clients: sends("Hi", site, max(SENT_TO, 4 * clients)),
                SEND,
                clients=clients,
                contains=SENT,
            ),
        ]
    for name, make, contains in (
        ("send-statements", partial(sends, "Hi"), SENT),
        ("complete-statements", partial(completions, "Hi"), COMPLETE),
    ):
        title = "statements to PostgreSQL for a send" if contains == SENT else "statements to PostgreSQL for complete"
        rows.append(Statements(name, title, make, contains=contains, clients=64, target=Target(3)))
    rows += [
        AddedLatency("complete-added", "added to the model's time by complete", partial(completions, "Hi"), "Hi"),
        AddedLatency("send-added", "added to the model's time by a send", partial(sends, "Hi"), "Hi", SENT_TO),
        AddedLatency(
            "first-delta-added", "added to the first delta of a send", partial(streams, "Hi"), "Hi", SENT_TO, True
        ),
    ]
    rows[-3].target, rows[-2].target, rows[-1].target = Target(5), Target(15), Target(3)
    for count, goal in ((200, None), (1000, Target(6)), (3000, Target(20))):
        title = f"{count} simultaneous complete, model takes 1 s"
        rows.append(Burst(f"complete-{count}", title, count, partial(completions, SLOW), SLOW, COMPLETE, goal))
    for count, goal in ((200, None), (1000, Target(15))):
        title = f"{count} simultaneous sends, model takes 1 s"
        rows.append(Burst(f"sends-{count}", title, count, partial(sends, SLOW), SLOW, SENT, goal))
    done = "event: done"
    rows += [
        Burst(
            "streams-1000",
            "1000 sends streamed simultaneously, 20 chunks over 4 s",
            1000,
            partial(streams, STREAM),
            STREAM,
            done,
            Target(15),
            mongo_floor=True,
        ),
        Burst(
            "complete-streams-1000",
            "1000 complete streamed simultaneously, 20 chunks over 4 s",
            1000,
            partial(completions, STREAM, query="?stream=true"),
            STREAM,
            done,
            Target(15),
        ),
        FastStreams(
            "streams-512",
            "512 sends with a delta each 20 ms for 30 s",
            512,
            30,
            fast_streams,
            Target(2600, at_least=True),
        ),
        DeltaDelay("delta-delay", "delay of a delta after the model's chunk, 100 streams", 100, Target(50)),
        upload_scenario.DeltaDelayWithUploads(),
        login_scenarios.StallWithLogins(),
        login_scenarios.LoginTimes(),
        StartTime(),
        Growth("page-growth", "page of 10: of 100,000 messages against 10", 10, 100_000, history_page),
        Growth(
            "list-growth",
            "list beside a conversation of 100,000 messages against 10",
            10,
            100_000,
            list_beside_long_conversation,
        ),
        Growth("conversations-growth", "list of 10: of 50,000 conversations against 10", 10, 50_000, list_of_many),
        GrowthOfUsers(
            "users-growth",
            "me with 1,000,000 users against 1,000",
            1000,
            1_000_000,
            fill_users,
            partial(of_people, "auth/me"),
        ),
        overhead_scenarios.RequestOverhead(),
        overhead_scenarios.RequestRoundTrips(),
        overhead_scenarios.CountingShare(),
        overhead_scenarios.MetricsShare(),
        overhead_scenarios.ModelCallOverhead(),
        trace_scenarios.Traces("me-traces", "more CPU of GET /auth/me with traces", partial(of_people, "auth/me")),
        trace_scenarios.Traces(
            "stream-traces",
            "more CPU of a streamed send with traces, instant model",
            lambda site, clients: streams("Hi", site, max(SENT_TO, clients)),
            done,
        ),
        page_scenarios.PageInProcess(),
        page_scenarios.PageOverhead(),
        page_scenarios.PagesMemory(),
        page_scenarios.HealthBesideOrdinaryPages(),
        page_scenarios.HealthBesideHostilePages(),
        Percentile("usage-me-2m", f"GET /usage/me, {usage_data.DATA}: p95", usage_data.usage_me, target=Target(20)),
        Percentile("dashboard-2m", f"GET /admin/, {usage_data.DATA}: p95", usage_data.dashboard, target=Target(300)),
        staff_lists.StaffLists(),
    ]
    return {row.name: row for row in rows}


QUICK = (
    *("health", "me", "list", "page", "search", "complete-by-8", "send-by-1", "send-by-8"),
    *("complete-added", "send-added", "first-delta-added"),
)
