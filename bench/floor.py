"""What the stores' drivers and the SDK cost by themselves, in a loop: `python -m bench.floor`, JSON in, JSON out.

Input: `{"seconds": S}` for the cost of each kind of call, as `{kind: {"cpu_ms", "wall_ms"}}`; `{"streams": N}` for the
seconds that the MongoDB commands of N streams of 4 s take by themselves. The process is patched like a web process.
The commands have the form and size of EdgeChat's, on tables and collections of their own. The stores and the model are
those of DATABASE_URL, MONGODB_URL, REDIS_URL and GEMINI_BASE_URL.
"""

# ruff: noqa: E402
from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import gevent
import psycopg
import redis
from google import genai
from pymongo import MongoClient

DOCUMENTS = 1000
CONTENT = "A message of some length. " * 12
LIMIT_SCRIPT = "local n = redis.call('INCR', KEYS[1]) redis.call('PEXPIRE', KEYS[1], 60000) return n"
# The MongoDB commands of one stream, each with the second at which it is sent.
STREAM_COMMANDS = (
    ("mongo_update", 0.0),
    ("mongo_insert", 0.0),
    ("mongo_update", 2.0),
    ("mongo_update", 4.0),
    ("mongo_update", 4.0),
)
FEWEST_CALLS = 20


@contextmanager
def kinds() -> Iterator[dict[str, Callable[[], Any]]]:
    """The calls by name, with open connections."""
    numbers = count(1)
    cache = redis.Redis.from_url(os.environ["REDIS_URL"])
    limit = cache.register_script(LIMIT_SCRIPT)
    # The client is kept by its name: one that nobody holds closes its connections.
    client = genai.Client(
        api_key=os.environ["GEMINI_API_KEY"], http_options={"base_url": os.environ["GEMINI_BASE_URL"]}
    )
    call: dict[str, Any] = {
        "model": "local",
        "contents": {"role": "user", "parts": [{"text": "Hi"}]},
        "config": {"automatic_function_calling": {"disable": True}},
    }
    with (
        psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as sql,
        MongoClient[dict[str, Any]](os.environ["MONGODB_URL"], maxPoolSize=24) as mongo,
    ):
        sql.execute("CREATE TABLE IF NOT EXISTS bench_floor (id bigserial PRIMARY KEY, owner bigint, body text)")
        if sql.execute("SELECT 1 FROM bench_floor LIMIT 1").fetchone() is None:
            insert = "INSERT INTO bench_floor (owner, body) SELECT n, %s FROM generate_series(1, %s) AS n"
            sql.execute(insert, [CONTENT, DOCUMENTS])
        documents = mongo["bench"]["floor"]
        if documents.find_one({"_id": "c:00000001"}) is None:
            documents.create_index([("owner_id", 1), ("change", -1)])
            made = [
                {"_id": f"c:{n:08d}", "owner_id": n % 10, "change": n, "content": CONTENT} for n in range(DOCUMENTS)
            ]
            documents.insert_many(made)
        page = {"_id": {"$in": [f"c:{n:08d}" for n in range(100, 150)]}}

        def insert_two() -> None:
            at = next(numbers)
            unique = f"{os.getpid()}:{at}:{time.time_ns()}"
            documents.insert_many(
                {"_id": f"{unique}:{n}", "owner_id": -1, "change": at, "content": CONTENT} for n in range(2)
            )

        def update() -> None:
            at = next(numbers)
            documents.update_one({"_id": f"c:{at % DOCUMENTS:08d}", "owner_id": at % 10}, {"$set": {"reply": at}})

        yield {
            "postgres_read": lambda: sql.execute(
                "SELECT * FROM bench_floor WHERE id = %s", [1 + next(numbers) % DOCUMENTS], prepare=True
            ).fetchall(),
            "postgres_write": lambda: sql.execute(
                "UPDATE bench_floor SET owner = owner + 1 WHERE id = %s", [1 + next(numbers) % DOCUMENTS], prepare=True
            ),
            "redis_script": lambda: limit(keys=[f"bench:{next(numbers) % 100}"]),
            "redis_add": lambda: cache.xadd("bench:stream", {"body": CONTENT}, maxlen=1000, approximate=True),
            "mongo_find": lambda: documents.find_one({"_id": f"c:{next(numbers) % DOCUMENTS:08d}"}),
            "mongo_find_20": lambda: list(documents.find({"owner_id": 3}, sort=[("change", -1)], limit=20)),
            "mongo_find_50": lambda: list(documents.find(page)),
            "mongo_insert": insert_two,
            "mongo_update": update,
            "sdk": lambda: client.models.generate_content(**call),
            "sdk_stream": lambda: list(client.models.generate_content_stream(**call)),
        }
        documents.delete_many({"owner_id": -1})


def cost(call: Callable[[], Any], seconds: float) -> dict[str, float]:
    """The median duration and the mean CPU time of a call, in ms."""
    for _ in range(3):
        call()
    taken: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    while len(taken) < FEWEST_CALLS or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return {
        "cpu_ms": (time.process_time() - cpu) / len(taken) * 1000,
        "wall_ms": statistics.median(taken) * 1000,
    }


def stream_seconds(calls: dict[str, Callable[[], Any]], streams: int) -> float:
    def one() -> None:
        began = time.monotonic()
        for name, at in STREAM_COMMANDS:
            gevent.sleep(max(0.0, began + at - time.monotonic()))
            calls[name]()

    began = time.monotonic()
    gevent.joinall([gevent.spawn(one) for _ in range(streams)], raise_error=True)
    return time.monotonic() - began


def main() -> None:
    job = json.load(sys.stdin)
    with kinds() as calls:
        if "streams" in job:
            print(json.dumps(stream_seconds(calls, job["streams"])))
        else:
            print(json.dumps({name: cost(call, job["seconds"]) for name, call in calls.items()}))


if __name__ == "__main__":
    main()
