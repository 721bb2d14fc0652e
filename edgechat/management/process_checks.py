"""The doctor command's checks of the web processes, their backlogs and the clocks."""

from __future__ import annotations

from collections.abc import Iterator

from edgechat.management.diagnosis import Finding, State
from edgechat.management.process_states import clock_differences, live_processes, measure_backlogs

# EdgeChat works with machines whose clocks differ by minutes, but certificates and logs do not.
MAX_CLOCK_SECONDS = 2.0
LATE_SECONDS = 60.0


def check_processes() -> Iterator[Finding]:
    processes = live_processes()
    if not processes:
        yield Finding("Background tasks", State.WARNING, "no web process is alive: start one")
        return
    silent = [process.name for process in processes if process.report is None and not process.is_leaving]
    reports = [(process.name, process.report) for process in processes if process.report is not None]
    unwell = [
        f"{task['name']} in {name}" for name, report in reports for task in report["tasks"] if not task["is_well"]
    ]
    if unwell:
        text = f"{len(unwell)} do not run, the first is {unwell[0]}: look at its log, and restart it"
        yield Finding("Background tasks", State.FAULT, text)
    elif silent:
        text = f"not known of {silent[0]}, which does not report: look at its log"
        yield Finding("Background tasks", State.WARNING, text)
    else:
        tasks = sum(len(report["tasks"]) for _, report in reports)
        yield Finding("Background tasks", State.OK, f"all {tasks} run, in {len(processes)} processes")


def check_backlogs() -> Iterator[Finding]:
    backlogs = measure_backlogs()
    text = (
        f"counting of requests is {backlogs.requests_late:.0f} s behind; deletions that have not ended: "
        f"{backlogs.accounts} accounts, {backlogs.conversations} conversations"
    )
    if backlogs.requests_late < LATE_SECONDS:
        yield Finding("Backlogs", State.OK, text)
    else:
        yield Finding("Backlogs", State.WARNING, f"{text}: look at the logs of the web processes")


def check_clocks() -> Iterator[Finding]:
    ahead = clock_differences()
    for process in live_processes():
        if process.report is not None:
            ahead[process.name] = process.report["clock_ahead"]
    name = max(ahead, key=lambda each: abs(ahead[each]))
    text = f"the largest difference from PostgreSQL's is {abs(ahead[name]):.1f} s, of {name}"
    if abs(ahead[name]) <= MAX_CLOCK_SECONDS:
        yield Finding("Clock", State.OK, text)
    else:
        yield Finding("Clock", State.WARNING, f"{text}: synchronize the clocks, for example with chrony")
