"""Shows what the web processes do at this moment."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from edgechat.management.process_states import (
    ProcessState,
    count_replies,
    live_processes,
    measure_backlogs,
    stream_length,
)

COLUMNS = ("State", "Lease", "Up", "Replies", "Working", "Waiting", "Uncounted", "Tasks")


class Command(BaseCommand):
    help = (
        "Show the live web processes with their replies, their queues and their background tasks, and what waits for "
        "all of them. Changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        processes, replies, backlogs = live_processes(), count_replies(), measure_backlogs()
        names = {process.name for process in processes}
        queues = {**asdict(backlogs), "requests_in_stream": stream_length()}
        lost = sum(count for name, count in replies.items() if name not in names)
        if options["json"]:
            listed = [{**asdict(process), "replies": replies[process.name]} for process in processes]
            self.stdout.write(json.dumps({"processes": listed, "replies_of_lost_processes": lost, "queues": queues}))
            return
        width = max([len("Process"), *map(len, names)]) + 2
        self.stdout.write("Process".ljust(width) + "".join(column.ljust(11) for column in COLUMNS).rstrip())
        for process in processes:
            cells = _cells(process, replies[process.name])
            self.stdout.write(process.name.ljust(width) + "".join(cell.ljust(11) for cell in cells).rstrip())
        self.stdout.write(f"Live processes: {len(processes)}; replies that wait to be taken over: {lost}.")
        self.stdout.write(
            f"Counting of requests is {backlogs.requests_late:.0f} s behind (in the stream: {stream_length()}). "
            f"Deletions that have not ended: {backlogs.accounts} accounts, {backlogs.conversations} conversations."
        )


def _cells(process: ProcessState, replies: int) -> list[str]:
    state, lease, report = "leaving" if process.is_leaving else "alive", f"{process.lease:.0f} s", process.report
    if report is None:
        return [state, lease, "-", str(replies), "-", "-", "-", "no report"]
    unwell = sum(not task["is_well"] for task in report["tasks"])
    tasks = f"{unwell} unwell" if unwell else f"{len(report['tasks'])} run"
    numbers = (report["working"], report["waiting"], report["uncounted"])
    return [state, lease, f"{report['seconds']:.0f} s", str(replies), *map(str, numbers), tasks]
