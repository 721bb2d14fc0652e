"""Which replies are being written."""

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from conversations.transcript_repository import WorkerDocument, find_running_replies, find_workers


class Command(BaseCommand):
    help = "List the replies that are being written: since when, by which process, and how long its lease still lasts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=100, help="How many to list at most (100).")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        replies = find_running_replies(limit=options["limit"])
        workers = find_workers()
        for conversation in replies:
            reply = conversation["reply"]
            if reply is None:
                continue
            seconds = (now - reply["started_at"]).total_seconds()
            self.stdout.write(
                f"{reply['message_id']}  user {conversation['owner_id']}  attempt {reply['attempt']}"
                f"  since {seconds:.0f} s  by {reply['worker']}  {_lease(workers.get(reply['worker']), now)}"
                f"{'  to be stopped' if reply['stop_requested'] else ''}"
            )
        self.stdout.write(f"{len(replies)} being written.")


def _lease(worker: WorkerDocument | None, now: datetime) -> str:
    if worker is None or worker["dead"]:
        return "to be taken over"
    seconds = (worker["lease_until"] - now).total_seconds()
    return f"lease {seconds:.0f} s" if seconds > 0 else f"lease ran out {-seconds:.0f} s ago"
