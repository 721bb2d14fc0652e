"""`python -m bench.soak`: mixed traffic for minutes, with kills of web processes and pauses of stores.

Prints requests and errors by kind, messages lost or doubled, calls to the model charged twice or not at all, and the
growth of memory, connections and open files. Exits with 1 when an acknowledged message or picture is lost, a message is
doubled or never ends, a call is charged twice or not at all, or an answer is a 500.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields

import psutil

from bench.site import PROJECT, Site, running_site
from bench.soak_client import SoakClient, Tally, Unavailable
from bench.soak_ledger import LedgerFindings, compare_ledger
from edgechat.local.process import LocalError
from edgechat.local.progress import Progress
from edgechat.local.server import Server

KILL_EVERY_SECONDS = 10.0
PAUSE_EVERY_SECONDS = 15.0
PAUSE_SECONDS = 3.0
SAMPLE_EVERY_SECONDS = 2.0
WORKERS = 2
# A store that is away is answered for within this time. The log of later answers is shown.
LATE_SECONDS = 5.0
MAX_SHOWN = 5
_MAX_CLIENTS, _MAX_MINUTES = 40, 24 * 60
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Sample:
    """What the web processes hold at a moment. `oldest` is the memory (USS, MiB) of the process that is not killed."""

    at: float
    oldest: float
    memory: float
    files: int
    connections: dict[str, int]


@dataclass
class Findings:
    """What the stores have in the end, against what the server has acknowledged."""

    messages: int = 0
    lost: int = 0
    doubled: int = 0
    unfinished: int = 0
    out_of_order: int = 0
    attachments: int = 0
    attachments_lost: int = 0
    # The first word of the user's message, by the id of the model's message.
    marks: dict[str, str] = field(default_factory=dict)

    def __add__(self, other: Findings) -> Findings:
        sums = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name != "marks"
        }
        return Findings(**sums, marks={**self.marks, **other.marks})


@dataclass
class Soak:
    site: Site
    seconds: float
    clients: list[SoakClient]
    kills: int = 0
    pauses: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Findings:
        oldest = min(self.site.worker_pids)
        deadline = time.monotonic() + self.seconds
        with ThreadPoolExecutor(len(self.clients) + 2) as pool:
            disturbers = [pool.submit(self._disturb, oldest), pool.submit(self._sample, oldest)]
            traffic = [pool.submit(_use, client, deadline) for client in self.clients]
            try:
                for each in traffic:
                    each.result()
            finally:
                self._ended.set()
            for each in disturbers:
                each.result()
            found = list(pool.map(_check, self.clients))
        return sum(found, Findings())

    def _disturb(self, oldest: int) -> None:
        """Kill another process than the oldest one, and pause one store after the other."""
        next_kill = time.monotonic() + KILL_EVERY_SECONDS
        next_pause = time.monotonic() + PAUSE_EVERY_SECONDS / 2
        while not self._ended.wait(0.1):
            if time.monotonic() >= next_kill:
                for pid in [pid for pid in self.site.worker_pids if pid != oldest][:1]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self.kills += 1
                next_kill += KILL_EVERY_SECONDS
            if time.monotonic() >= next_pause:
                store = self.site.stores[sum(self.pauses.values()) % len(self.site.stores)]
                with _paused(store):
                    self._ended.wait(PAUSE_SECONDS)
                self.pauses[store.label] += 1
                next_pause += PAUSE_EVERY_SECONDS

    def _sample(self, oldest: int) -> None:
        ports = {store.port: store.label for store in self.site.stores}
        while not self._ended.is_set():
            with suppress(psutil.NoSuchProcess):
                self.samples.append(_look(self.site, oldest, ports))
            self._ended.wait(SAMPLE_EVERY_SECONDS)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options = _arguments()
    progress = Progress()
    try:
        with running_site(
            name="soak", project=PROJECT, workers=WORKERS, mongo=options.mongo, progress=progress
        ) as site:
            seeds = random.Random(options.seed)  # nosec B311 # no secret
            clients = [
                SoakClient(site.web.url, site.person(number), seeds.randrange(2**32))
                for number in range(options.clients)
            ]
            soak = Soak(site, options.minutes * 60, clients)
            with progress.step(f"{options.clients} clients for {options.minutes:g} minutes, seed {options.seed}"):
                findings = soak.run()
            with progress.step("the ledger, once all calls are settled"):
                ledger = compare_ledger(site, findings.marks)
            progress.line(report(soak, findings, ledger))
            return _verdict(soak, findings, ledger, progress)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1


def report(soak: Soak, findings: Findings, ledger: LedgerFindings) -> str:
    """The tables, in Markdown."""
    tallies = [client.tally for client in soak.clients]
    outcomes = sum((tally.outcomes for tally in tallies), Counter[tuple[str, str]]())
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for (kind, outcome), count in outcomes.items():
        kinds[kind][outcome] += count
    pauses = ", ".join(f"{name} {count}" for name, count in soak.pauses.items())
    lines = [
        f"{sum(outcomes.values())} requests in {soak.seconds:g} s. Web processes killed: {soak.kills}."
        f" Stores paused for {PAUSE_SECONDS:g} s: {pauses or 'none'}.",
        "",
        "| call | requests | answered well | longest wait for a 503 | otherwise |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    longest: dict[str, float] = defaultdict(float)
    for each in _unavailable(soak):
        longest[each.kind] = max(longest[each.kind], each.seconds)
    for kind, counts in sorted(kinds.items()):
        good = sum(count for outcome, count in counts.items() if outcome.startswith("2"))
        others = ", ".join(f"{outcome}: {count}" for outcome, count in counts.most_common() if outcome[0] != "2")
        wait = f"{longest[kind]:.1f} s" if kind in longest else ""
        lines.append(f"| {kind} | {counts.total()} | {good} | {wait} | {others} |")
    lines += ["", *_sentences(soak, findings, tallies), ledger.sentence()]
    return "\n".join(lines)


def _sentences(soak: Soak, findings: Findings, tallies: list[Tally]) -> list[str]:
    good = [each for tally in tallies for each in tally.seconds_of_good]
    compared, different = sum(each.texts_compared for each in tallies), sum(each.texts_different for each in tallies)
    first, last, hours = _ends(soak.samples)
    growth = (last - first) / hours if hours else 0.0
    peak = {name: max(each.connections[name] for each in soak.samples) for name in soak.samples[-1].connections}
    connections = ", ".join(f"{name} {soak.samples[-1].connections[name]} ({peak[name]})" for name in peak)
    files = [each.files for each in soak.samples]
    memory = [each.memory for each in soak.samples]
    return [
        f"Messages acknowledged: {sum(len(keys) for each in tallies for keys in each.acknowledged.values())}."
        f" Messages stored: {findings.messages}. Lost: {findings.lost}. Doubled: {findings.doubled}."
        f" Never ended: {findings.unfinished}. Conversations with a gap: {findings.out_of_order}.",
        f"Streams followed to their end: {compared}; with another text than the stored one: {different}.",
        f"Pictures acknowledged: {findings.attachments}. Lost: {findings.attachments_lost}.",
        f"Calls that had no good answer after a minute: {sum(each.given_up for each in tallies)}.",
        f"Median of good answers: {statistics.median(good):.3f} s.",
        f"Memory of the process that was not killed: {first:.0f} MiB, then {last:.0f} MiB: {growth:+.0f} MiB per hour."
        f" All processes: {memory[-1]:.0f} MiB in the end, {max(memory):.0f} MiB at most.",
        f"Connections in the end (at most): {connections}.",
        f"Open files in the end: {files[-1]}; at most: {max(files)}.",
    ]


def _verdict(soak: Soak, findings: Findings, ledger: LedgerFindings, progress: Progress) -> int:
    internal = sum(
        count for each in soak.clients for (_, outcome), count in each.tally.outcomes.items() if outcome[:3] == "500"
    )
    different = sum(client.tally.texts_different for client in soak.clients)
    faults = {
        "messages lost": findings.lost,
        "messages doubled": findings.doubled,
        "messages that never ended": findings.unfinished,
        "conversations with a gap": findings.out_of_order,
        "pictures lost": findings.attachments_lost,
        "calls that nobody was charged for": ledger.uncharged,
        "calls charged twice": ledger.charged_twice,
        "calls never settled": ledger.unsettled,
        "users with another budget than their rows": ledger.wrong_sums,
        "texts that differ": different,
        "answers 500": internal,
    }
    for name, count in faults.items():
        if count:
            progress.line(f"FAULT: {count} {name}")
    for late in sorted(_unavailable(soak), key=lambda each: -each.seconds)[:MAX_SHOWN]:
        if late.seconds > LATE_SECONDS:
            progress.line(f"  late: {late.kind} 503 {late.code} after {late.seconds:.1f} s, {late.request_id}")
            for line in soak.site.log_text().splitlines():
                if late.request_id in line:
                    progress.line(f"    {line[:500]}")
    for fault, count in soak.site.log_faults().most_common(12):
        progress.line(f"  log: {count} times {fault}")
    return 1 if any(faults.values()) else 0


def _unavailable(soak: Soak) -> list[Unavailable]:
    return [each for client in soak.clients for each in client.tally.unavailable]


def _use(client: SoakClient, deadline: float) -> None:
    while time.monotonic() < deadline:
        client.act()


def _check(client: SoakClient) -> Findings:
    """Compare what is stored for a client with what it was told."""
    found = Findings(attachments=len(client.tally.attachments))
    for conversation, acknowledged in client.tally.acknowledged.items():
        messages = client.messages(conversation)
        keys = Counter(each["client_message_id"] for each in messages if each["role"] == "user")
        contents = Counter(each["content"] for each in messages if each["role"] == "user")
        found.messages += len(messages)
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            found.marks[answer["id"]] = _mark_of(question["content"])
        found.lost += len(acknowledged - keys.keys())
        found.doubled += sum(count - 1 for count in keys.values()) + sum(count - 1 for count in contents.values())
        found.unfinished += sum(each["status"] == "generating" for each in messages)
        found.out_of_order += [each["seq"] for each in messages] != list(range(1, len(messages) + 1))
    found.attachments_lost = sum(not client.has_attachment(each) for each in client.tally.attachments)
    client.close()
    return found


def _mark_of(content: str) -> str:
    """What the client began the text with, after the directives for the scripted model."""
    return content.rpartition("]]")[2].split()[0]


@contextmanager
def _paused(server: Server) -> Iterator[None]:
    """Like a machine that hangs: connections stay open, and carry nothing."""
    parent = psutil.Process(server.pid)
    processes = [parent, *parent.children(recursive=True)]
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _look(site: Site, oldest: int, ports: dict[int, str]) -> Sample:
    memory, files = 0.0, 0
    connections = Counter(dict.fromkeys([*ports.values(), "clients"], 0))
    for pid in [site.master, *site.worker_pids]:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            memory += process.memory_full_info().pss / _MEBIBYTE
            files += process.num_fds()
            for each in process.net_connections("tcp"):
                if each.status == psutil.CONN_ESTABLISHED and each.raddr:
                    connections[ports.get(each.raddr.port, "clients")] += 1
    own = psutil.Process(oldest).memory_full_info().uss / _MEBIBYTE
    return Sample(time.monotonic(), own, memory, files, dict(connections))


def _ends(samples: list[Sample]) -> tuple[float, float, float]:
    """The memory of the oldest process in the second and in the last fifth of the time, and the hours between them."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    hours = (statistics.mean(each.at for each in late) - statistics.mean(each.at for each in early)) / 3600
    return statistics.mean(each.oldest for each in early), statistics.mean(each.oldest for each in late), hours


def _arguments() -> argparse.Namespace:
    def number(least: float, most: float, kind: type) -> object:
        def read(text: str) -> float:
            value = kind(text)
            if not least <= value <= most:
                raise argparse.ArgumentTypeError(f"{least:g} to {most:g}")
            return float(value) if kind is float else value

        return read

    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=number(0.2, _MAX_MINUTES, float), default=5.0)  # type: ignore[arg-type]
    parser.add_argument("--clients", type=number(1, _MAX_CLIENTS, int), default=8)  # type: ignore[arg-type]
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**16))
    parser.add_argument("--mongo", choices=["secantus", "nx"], default=os.environ.get("LOCAL_MONGO") or "secantus")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
