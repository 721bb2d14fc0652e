"""`python -m bench [row ...]`: measure EdgeChat beside its floor, in alternating rounds, and print a table of medians.

`--base COMMIT` measures that commit's web processes too, each with servers of its own. `--json FILE` keeps the figures;
`python -m bench.report FILE` writes them into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from bench.bare import BareServer
from bench.figures import Floors, Rounds, summarize
from bench.load import Job
from bench.report import format_report
from bench.rows import QUICK, all_rows
from bench.site import PROJECT, Site, run_job, run_module, running_site
from bench.watch import cpu_seconds
from edgechat.local.process import LocalError
from edgechat.local.progress import Progress

_FAULTS_SHOWN = 8
_QUICK = {"rounds": 2, "seconds": 0.6, "scale": 0.1}
_BARE_CLIENTS = 16


def main() -> int:
    """0 when every call was answered as expected, else 1. A missed target is marked in the table and fails nothing."""
    # SIGTERM must also stop the servers and remove the data folder.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options = _arguments()
    progress = Progress()
    facts = _facts(options)
    progress.line(facts["machine"])
    try:
        with ExitStack() as cleanup:
            projects = {"head": PROJECT}
            if options.base:
                projects["base"] = cleanup.enter_context(_worktree(options.base))
            sites = {
                name: cleanup.enter_context(
                    running_site(
                        name=name, project=project, workers=options.workers, mongo=options.mongo, progress=progress
                    )
                )
                for name, project in projects.items()
            }
            head = sites["head"]
            os.environ.update(head.env)  # for the rows that run this checkout's code in this process
            for site in sites.values():
                site.seconds, site.scale = options.seconds, options.scale
            bare = BareServer(data_dir=head.web.folder.parent, workers=options.workers)
            cleanup.callback(bare.kill)
            bare.start()
            rounds, floors = _measure(sites, bare, options)
            facts |= {"servers": head.versions(), "load_average_after": os.getloadavg()}
            figures = summarize(facts, rounds, floors)
            if options.json is not None:
                options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            progress.line(format_report(figures))
            if options.web_log is not None:
                options.web_log.write_text(head.log_text(), encoding="utf-8")
            return max(_report_faults(name, site, rounds, progress) for name, site in sites.items())
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1


def _measure(sites: dict[str, Site], bare: BareServer, options: argparse.Namespace) -> tuple[Rounds, list[Floors]]:
    """Runs all rows in each round, so that other load on the machine affects them alike; every other round, backwards.

    The sites alternate within a row, and the floors are measured in each round.
    """
    rows = {name: all_rows() for name in sites}
    chosen = options.row or (QUICK if options.quick else list(rows["head"]))
    steps = [(row, name) for row in chosen for name in sites if name == "head" or not rows[name][row].only_head]
    rounds: Rounds = defaultdict(list)
    floors: list[Floors] = []
    # Without a terminal each refreshed line stays, so one every ten seconds is enough.
    every = 0.1 if sys.stdout.isatty() else 10.0
    with tqdm(total=len(steps) * (options.rounds + 1), unit="step", file=sys.stdout, mininterval=every) as bar:
        for row, name in steps:
            bar.set_description(f"{row}: preparing", refresh=False)
            rows[name][row].prepare(sites[name])
            bar.update()
        for number in range(options.rounds):
            floors.append(_floors(sites["head"], bare, options.seconds))
            for row, name in steps if number % 2 == 0 else reversed(steps):
                bar.set_description(f"{row}: round {number + 1} of {options.rounds}", refresh=False)
                scenario = rows[name][row]
                rounds[scenario.name, name].append((scenario, scenario.measure(sites[name])))
                bar.update()
    return rounds, floors


def _floors(site: Site, bare: BareServer, seconds: float) -> Floors:
    """The cost of a request to bare gunicorn, and of each kind of call by the drivers and the SDK, in ms."""
    before = cpu_seconds(bare.pid)
    host, port = bare.address.split(":")
    # As long as a real request.
    request = f"GET / HTTP/1.1\r\nHost: {bare.address}\r\nAuthorization: Bearer {'x' * 400}\r\n\r\n"
    result = run_job(Job(host, int(port), [request] * _BARE_CLIENTS, _BARE_CLIENTS, seconds))
    cpu_ms = (cpu_seconds(bare.pid) - before) / result.finished * 1000
    generator_ms = result.cpu_seconds / result.finished * 1000
    calls: Floors = run_module("bench.floor", {"seconds": seconds / 8}, env=site.env)
    bare_floor = {"cpu_ms": cpu_ms, "wall_ms": result.p50, "rate": result.rate, "generator_cpu_ms": generator_ms}
    return {"bare": bare_floor, **calls}


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """A checkout of another commit, with this one's virtual environment."""
    folder = Path(tempfile.mkdtemp(prefix="edgechat-bench-base-"))
    git = ["git", "-C", str(PROJECT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(folder / "base"), commit], check=True, capture_output=True)
    try:
        yield folder / "base"
    finally:
        subprocess.run([*git, "remove", "--force", str(folder / "base")], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _report_faults(name: str, site: Site, rounds: Rounds, progress: Progress) -> int:
    # A reply's thread returns its connection a moment after the answer was sent.
    time.sleep(1)
    results = [
        one.load.result
        for (_, at), measured in rounds.items()
        if at == name
        for _, one in measured
        if one.load is not None
    ]
    samples = [sample for result in results for sample in result.samples]
    faults = site.log_faults()
    progress.line(
        f"{name}: faulty answers: {sum(result.errors for result in results)}. Warnings and errors in the web log:"
        f" {sum(faults.values())}. Database connections left in a transaction: {site.watch.open_transactions()}."
    )
    for sample, count in Counter(samples).most_common(_FAULTS_SHOWN):
        progress.line(f"  answer {sample}" + (f"  ({count} times)" if count > 1 else ""))
    for fault, count in faults.most_common(_FAULTS_SHOWN):
        progress.line(f"  log: {count} times {fault}")
    return 1 if samples else 0


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ", ".join(f"{name} {version(name)}" for name in ("Django", "gunicorn", "gevent", "google-genai"))
    memory = psutil.virtual_memory().total / 2**30
    return {
        "machine": (
            f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()},"
            f" Python {platform.python_version()}, {packages}"
        ),
        "head": _commit("HEAD"),
        "base": _commit(options.base) if options.base else None,
        "workers": options.workers,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "scale": options.scale,
        "load_average_before": os.getloadavg(),
    }


def _commit(name: str) -> str:
    command = ["git", "-C", str(PROJECT), "rev-parse", "--short", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("row", nargs="*", help="rows of bench/rows.py; all without one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement of throughput")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the large numbers that is used")
    parser.add_argument("--quick", action="store_true", help="the rows for daily use, in about 90 s")
    parser.add_argument("--base", metavar="COMMIT", help="compare with this commit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--mongo", choices=["secantus", "nx"], default=os.environ.get("LOCAL_MONGO") or "secantus")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--web-log", type=Path, metavar="FILE", help="keep the web processes' log there")
    if "--quick" in sys.argv:
        parser.set_defaults(**_QUICK)
    options = parser.parse_args()
    if unknown := sorted({*options.row} - {*all_rows()}):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(all_rows())}")
    return options


if __name__ == "__main__":
    sys.exit(main())
