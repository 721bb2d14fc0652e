"""`python -m bench.scaling --users 1000000`: what a number of daily users needs, calculated from measured figures.

Each field of Assumptions is an option, so that other people can enter their own figures: `--sends 20 --pool_size 4`.
docs/scaling.md explains the figures and has the tables for the defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from math import ceil, isfinite

DAY_SECONDS = 86_400
GB = 1e9
# These divide; other figures may be 0.
POSITIVE = {"users", "busy", "compression"}


def _figure(default: float, meaning: str) -> float:
    value: float = field(default=default, metadata={"meaning": meaning})
    return value


@dataclass(frozen=True)
class Assumptions:
    """What users do, what that costs, and what a machine has. Times are CPU milliseconds of one core."""

    users: float = _figure(1_000_000, "users of a day")
    # What a user does.
    sends: float = _figure(10, "messages that a user sends in a day")
    reads: float = _figure(30, "other calls of a user in a day: lists, pages, changes, refreshed tokens")
    logins: float = _figure(0.05, "logins with a password of a user in a day")
    peak: float = _figure(3, "the busiest hour's rate, in multiples of the day's mean")
    reply_seconds: float = _figure(8, "seconds that a reply takes")
    deltas: float = _figure(100, "deltas of a reply, one for each 80 ms")
    sent_bytes: float = _figure(200, "bytes of a sent message's text")
    answer_bytes: float = _figure(1_600, "bytes of an answer's text")
    input_tokens: float = _figure(1_500, "tokens of a prompt, with the conversation so far")
    output_tokens: float = _figure(400, "tokens of an answer")
    # CPU time, from docs/performance.md: rows send-by-32, page, login and "One delta".
    web_send: float = _figure(9.33, "web process for a send, without its deltas")
    web_delta: float = _figure(0.182, "web process for a delta")
    web_read: float = _figure(4.91, "web process for another call")
    web_login: float = _figure(45.3, "web process for a login")
    postgresql_send: float = _figure(1.28, "PostgreSQL for a send")
    postgresql_read: float = _figure(0.181, "PostgreSQL for another call")
    mongodb_send: float = _figure(12.8, "MongoDB's stand-in for a send")
    mongodb_read: float = _figure(8.94, "MongoDB's stand-in for another call")
    redis_send: float = _figure(0.387, "Redis for a send, without its deltas")
    redis_delta: float = _figure(0.011, "Redis for a delta: row streams-1000 less send-by-32, by its 20 deltas")
    redis_read: float = _figure(0.182, "Redis for another call")
    # Memory and storage, in bytes.
    process_bytes: float = _figure(230e6, "memory of a web process without streams")
    stream_bytes: float = _figure(100e3, "memory of an open stream in its web process")
    message_bytes: float = _figure(430, "a message's document and index entries, without its text")
    compression: float = _figure(1, "how much smaller MongoDB stores documents; snappy usually makes it 2 or more")
    request_bytes: float = _figure(343, "a request's row with its indexes")
    ledger_bytes: float = _figure(420, "a model call's row with its indexes")
    hour_bytes: float = _figure(146, "the row of a user's active hour, with its indexes")
    hours: float = _figure(3, "different hours of a day in which a user is active")
    request_days: float = _figure(90, "USAGE_RAW_DAYS")
    copies: float = _figure(3, "copies of MongoDB's data")
    live_bytes: float = _figure(12e3, "a reply's stream in Redis, kept for an hour")
    user_bytes: float = _figure(400, "counters of a user who was active in the last minutes, in Redis")
    # What a process and a machine have.
    busy: float = _figure(0.5, "part of a core that is used in the busiest hour")
    cores: float = _figure(16, "cores of the largest machine for one store")
    disk_bytes: float = _figure(8e12, "the largest disk for one store")
    pool_size: float = _figure(10, "DATABASE_POOL_SIZE")
    postgresql_connections: float = _figure(500, "connections that PostgreSQL serves well")
    mongodb_connections: float = _figure(32, "connections of a process to MongoDB")
    redis_connections: float = _figure(18, "connections of a process to Redis")
    redis_clients: float = _figure(10_000, "Redis's maxclients")
    # Prices in US dollars.
    input_price: float = _figure(0.30, "a million tokens of a prompt")
    output_price: float = _figure(2.50, "a million tokens of an answer")
    core_price: float = _figure(25, "a core with 4 GB of memory for a month")
    storage_price: float = _figure(0.12, "a GB of storage for a month")


@dataclass(frozen=True)
class Needs:
    """What the busiest hour and a year need. Cores are fully busy ones; processes are enough for `busy`."""

    sends_a_second: float
    reads_a_second: float
    streams: float
    web_cores: float
    postgresql_cores: float
    mongodb_cores: float
    redis_cores: float
    processes: int
    web_bytes: float
    postgresql_connections: float
    mongodb_connections: float
    redis_connections: float
    redis_bytes: float
    model_calls_a_minute: float
    model_tokens_a_minute: float
    messages_a_day: float
    mongodb_bytes_a_year: float
    postgresql_raw_bytes: float
    ledger_bytes_a_year: float
    hours_bytes_a_year: float
    model_month: float
    machines_month: float
    storage_month: float


def needs(given: Assumptions) -> Needs:
    mean = given.users / DAY_SECONDS
    sends, reads, logins = (mean * given.peak * each for each in (given.sends, given.reads, given.logins))

    def cores(send: float, delta: float, read: float, login: float = 0) -> float:
        return (sends * (send + given.deltas * delta) + reads * read + logins * login) / 1000

    web = cores(given.web_send, given.web_delta, given.web_read, given.web_login)
    postgresql = cores(given.postgresql_send, 0, given.postgresql_read, given.postgresql_read)
    mongodb = cores(given.mongodb_send, 0, given.mongodb_read)
    redis = cores(given.redis_send, given.redis_delta, given.redis_read, given.redis_read)
    processes = ceil(web / given.busy)
    streams = sends * given.reply_seconds
    text = given.sent_bytes + given.answer_bytes
    transcripts = given.users * given.sends * 365 * (2 * given.message_bytes + text) / given.compression * given.copies
    raw = given.users * (given.sends + given.reads + given.logins) * given.request_bytes * given.request_days
    ledger = given.users * given.sends * 365 * given.ledger_bytes
    hours = given.users * given.hours * 365 * given.hour_bytes
    tokens = given.input_tokens * given.input_price + given.output_tokens * given.output_price
    return Needs(
        sends_a_second=sends,
        reads_a_second=reads,
        streams=streams,
        web_cores=web,
        postgresql_cores=postgresql,
        mongodb_cores=mongodb,
        redis_cores=redis,
        processes=processes,
        web_bytes=processes * given.process_bytes + streams * given.stream_bytes,
        postgresql_connections=processes * (given.pool_size + 1),
        mongodb_connections=processes * given.mongodb_connections,
        redis_connections=processes * given.redis_connections,
        redis_bytes=sends * 3600 * given.live_bytes + given.users * given.user_bytes,
        model_calls_a_minute=sends * 60,
        model_tokens_a_minute=sends * 60 * (given.input_tokens + given.output_tokens),
        messages_a_day=given.users * given.sends * 2,
        mongodb_bytes_a_year=transcripts,
        postgresql_raw_bytes=raw,
        ledger_bytes_a_year=ledger,
        hours_bytes_a_year=hours,
        model_month=given.users * given.sends * 30 * tokens / 1e6,
        machines_month=(web + postgresql + mongodb * given.copies + redis) / given.busy * given.core_price,
        storage_month=(transcripts + raw + ledger + hours) / GB * given.storage_price,
    )


def limits(given: Assumptions) -> list[tuple[str, float, str]]:
    """(what is full, at how many daily users, what to do), the first one first. Does not depend on `given.users`."""
    use = needs(given)
    machine, processes = given.cores * given.busy, use.web_cores / given.busy
    rows = use.postgresql_raw_bytes + use.ledger_bytes_a_year + use.hours_bytes_a_year
    found = [
        (
            "connections to PostgreSQL",
            given.postgresql_connections,
            processes * (given.pool_size + 1),
            "a transaction pooler, or a smaller `DATABASE_POOL_SIZE`",
        ),
        ("one machine of web processes", machine, use.web_cores, "more replicas: they share nothing but the stores"),
        ("one MongoDB machine (CPU of the stand-in)", machine, use.mongodb_cores, "shards by `owner_id`"),
        (
            "one thread of Redis",
            given.busy,
            use.redis_cores,
            "a cluster; the streams of live replies stay on one node",
        ),
        (
            "the node of Redis with the live replies",
            given.busy,
            use.sends_a_second * given.deltas * given.redis_delta / 1000,
            "installations of their own for parts of the users",
        ),
        (
            "the disk of one MongoDB machine, after a year",
            given.disk_bytes * given.copies,
            use.mongodb_bytes_a_year,
            "shards by `owner_id`, or old conversations deleted",
        ),
        (
            "the disk of the primary of PostgreSQL, after a year",
            given.disk_bytes,
            rows,
            "a smaller `USAGE_RAW_DAYS`; the ledger of former years in an archive",
        ),
        (
            "connections to one Redis",
            given.redis_clients,
            processes * given.redis_connections,
            "a larger `maxclients`",
        ),
        (
            "the primary of PostgreSQL (CPU)",
            machine,
            use.postgresql_cores,
            "a larger machine; then requests and ledger in a database of their own",
        ),
    ]
    full = [(what, given.users * there / used, remedy) for what, there, used, remedy in found if used]
    return sorted(full, key=lambda each: each[1])


def _number(value: float) -> str:
    """With two or three digits that count."""
    if value >= 100:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


_ROWS: list[tuple[str, Callable[[Needs], float], str]] = [
    ("sends in the busiest hour", lambda use: use.sends_a_second, "a second"),
    ("other calls in the busiest hour", lambda use: use.reads_a_second, "a second"),
    ("open streams", lambda use: use.streams, ""),
    ("web processes, one for each core", lambda use: use.processes, ""),
    ("memory of all web processes", lambda use: use.web_bytes / GB, "GB"),
    ("busy cores of PostgreSQL", lambda use: use.postgresql_cores, ""),
    ("busy cores of MongoDB (the stand-in's)", lambda use: use.mongodb_cores, ""),
    ("busy cores of Redis", lambda use: use.redis_cores, ""),
    ("connections to PostgreSQL without a pooler", lambda use: use.postgresql_connections, "at most"),
    ("connections to MongoDB", lambda use: use.mongodb_connections, "at most"),
    ("connections to Redis", lambda use: use.redis_connections, "at most"),
    ("memory of Redis", lambda use: use.redis_bytes / GB, "GB"),
    ("calls to the model in the busiest hour", lambda use: use.model_calls_a_minute, "a minute"),
    ("tokens of these calls", lambda use: use.model_tokens_a_minute / 1e6, "million a minute"),
    ("messages", lambda use: use.messages_a_day / 1e6, "million a day"),
    ("MongoDB, all copies", lambda use: use.mongodb_bytes_a_year / GB, "GB a year"),
    ("PostgreSQL, records of requests", lambda use: use.postgresql_raw_bytes / GB, "GB, then constant"),
    ("PostgreSQL, ledger", lambda use: use.ledger_bytes_a_year / GB, "GB a year"),
    ("PostgreSQL, usage by hour", lambda use: use.hours_bytes_a_year / GB, "GB a year"),
    ("cost of the model", lambda use: use.model_month, "USD a month"),
    ("cost of machines", lambda use: use.machines_month, "USD a month"),
    ("cost of the first year's storage", lambda use: use.storage_month, "USD a month"),
]


def tables(given: Assumptions) -> str:
    """Both tables as Markdown: what is needed, and what is full first."""
    use = needs(given)
    lines = [f"| {_number(given.users)} users a day | needed | |", "| --- | ---: | --- |"]
    lines += [f"| {what} | {_number(value(use))} | {unit} |" for what, value, unit in _ROWS]
    lines += ["", "| what is full first | at users a day | then |", "| --- | ---: | --- |"]
    lines += [f"| {what} | {_number(users)} | {remedy} |" for what, users, remedy in limits(given)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    for each in fields(Assumptions):
        parser.add_argument(
            f"--{each.name}", type=float, default=each.default, help=f"{each.metadata['meaning']} (%(default)s)"
        )
    given = Assumptions(**vars(parser.parse_args()))
    for name, value in asdict(given).items():
        if not isfinite(value) or value < 0 or (value == 0 and name in POSITIVE):
            parser.error(f"--{name} must be {'above 0' if name in POSITIVE else '0 or more'}")
    print(tables(given), end="")


if __name__ == "__main__":
    main()
