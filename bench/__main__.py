"""`python -m bench [scenario ...]`: measure a running EdgeChat and print a table of medians."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import psutil
from tqdm import tqdm

from bench.all_scenarios import all_scenarios
from bench.scenarios import CONNECTIONS, Measured, Scenario
from bench.site import Site, generator_rate, running_site
from bench.table import format_table
from edgechat.local.process import LocalError
from edgechat.local.progress import Progress

_FAULTS_SHOWN = 8


def main() -> int:
    """0 when every call was answered as expected, else 1. A missed target is marked in the table and fails nothing."""
    # SIGTERM must also stop the servers and remove the data folder.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    scenarios = all_scenarios()
    options = _arguments(list(scenarios))
    chosen = [scenarios[name] for name in options.scenario or scenarios]
    progress = Progress()
    progress.line(_machine())
    with progress.step("the load generator against a server that only answers"):
        generator = generator_rate(connections=CONNECTIONS, seconds=2.0)
    try:
        with running_site(workers=options.workers, mongo=options.mongo, progress=progress) as site:
            rounds = _measure(site, chosen, rounds=options.rounds)
            progress.line()
            progress.line(_servers(site))
            progress.line(format_table(chosen, rounds))
            progress.line()
            progress.line(
                f"The load generator alone: {generator.rate:,.0f} req/s,"
                f" {generator.cpu_seconds / generator.answered * 1e6:.0f} us of CPU a request."
            )
            if options.web_log is not None:
                options.web_log.write_text(site.log_text(), encoding="utf-8")
            return _report_faults(site, rounds, progress)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1


def _measure(site: Site, chosen: list[Scenario], *, rounds: int) -> dict[str, list[Measured]]:
    """Runs all scenarios in turns, so that other load on the machine affects them alike."""
    measured: dict[str, list[Measured]] = defaultdict(list)
    # Without a terminal each refreshed line stays, so one every ten seconds is enough.
    every = 0.1 if sys.stdout.isatty() else 10.0
    with tqdm(total=len(chosen) * (rounds + 1), unit="step", file=sys.stdout, mininterval=every) as bar:
        for scenario in chosen:
            bar.set_description(f"{scenario.name}: preparing", refresh=False)
            scenario.prepare(site)
            bar.update()
        for number in range(1, rounds + 1):
            for scenario in chosen:
                bar.set_description(f"{scenario.name}: round {number} of {rounds}", refresh=False)
                measured[scenario.name].append(scenario.measure(site))
                bar.update()
    return measured


def _report_faults(site: Site, measured: dict[str, list[Measured]], progress: Progress) -> int:
    # A reply's thread returns its connection a moment after the answer was sent.
    time.sleep(1)
    results = [one.load.result for rounds in measured.values() for one in rounds if one.load is not None]
    samples = [sample for result in results for sample in result.samples]
    faults = site.log_faults()
    progress.line(
        f"Faulty answers: {sum(result.errors for result in results)}. Warnings and errors in the web log:"
        f" {sum(faults.values())}. Database connections left in a transaction: {site.open_transactions()}."
    )
    for sample, count in Counter(samples).most_common(_FAULTS_SHOWN):
        progress.line(f"  answer {sample}" + (f"  ({count} times)" if count > 1 else ""))
    for fault, count in faults.most_common(_FAULTS_SHOWN):
        progress.line(f"  log: {count} times {fault}")
    return 1 if samples else 0


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "gunicorn", "gevent"))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()},"
        f" Python {platform.python_version()}, {packages}; load of the last minute {os.getloadavg()[0]:.1f}"
    )


def _servers(site: Site) -> str:
    return (
        f"{site.workers} workers; {site.versions()}. On the same cores as the load generator; no server waits for"
        " the disk (durable=False), as MongoDB by itself does not without a replica set.\n"
        "CPU ms: the workers' CPU time an answer. MiB: the peak of the web processes' PSS, in which a shared page"
        " counts once. PG, Redis: the most connections at once.\n"
    )


def _arguments(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all without one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--mongo", choices=["secantus", "nx"], default=os.environ.get("LOCAL_MONGO") or "secantus")
    parser.add_argument("--web-log", type=Path, metavar="FILE", help="keep the web processes' log there")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(names)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
