"""How long health checks go unanswered: `python -m bench.health_watch ADDRESS CONNECTIONS`, a separate process.

It sends requests on all its connections until its input ends, then prints for each the longest wait for an answer in
ms, as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time

_PAUSE_SECONDS = 0.005


def main(address: str, connections: int) -> None:
    ended = threading.Event()
    longest = [0.0] * connections

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        while not ended.wait(_PAUSE_SECONDS):
            began = time.monotonic()
            connection.request("GET", "/api/v1/health")
            connection.getresponse().read()
            longest[number] = max(longest[number], time.monotonic() - began)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(connections)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join(120)
    print(json.dumps([seconds * 1000 for seconds in longest]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
