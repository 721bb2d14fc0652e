"""Reads many event streams at the same time and reports when each delta came.

`python -m bench.stream_reader`, JSON in, JSON out; a separate process, like the load generator.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


async def read_deltas(host: str, port: int, request: str) -> list[float]:
    """Send one request; when (epoch seconds) each of its `delta` events arrived. Raises OSError if it is cut off."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request.encode("ascii"))
    times: list[float] = []
    try:
        while line := await reader.readline():
            if line.startswith(b"event: delta"):
                times.append(time.time())
            elif line.startswith(b"event: done"):
                return times
        raise ConnectionResetError("the stream ended before `done`")
    finally:
        writer.close()


async def read_all(host: str, port: int, requests: list[str]) -> list[list[float]]:
    return await asyncio.gather(*(read_deltas(host, port, request) for request in requests))


if __name__ == "__main__":
    job = json.load(sys.stdin)
    json.dump(asyncio.run(read_all(job["host"], job["port"], job["requests"])), sys.stdout)
