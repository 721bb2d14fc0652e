"""Which replies are being written."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from conversations.transcript_repository import find_running_replies


class Command(BaseCommand):
    help = "List the replies that are being written: since when, by which process, and how long its lease still lasts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=100, help="How many to list at most (100).")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        replies = find_running_replies(limit=options["limit"])
        for conversation in replies:
            reply = conversation["reply"]
            if reply is None:
                continue
            lease = (reply["lease_until"] - now).total_seconds()
            state = f"lease {lease:.0f} s" if lease > 0 else f"lease ran out {-lease:.0f} s ago"
            seconds = (now - reply["started_at"]).total_seconds()
            self.stdout.write(
                f"{reply['message_id']}  user {conversation['owner_id']}  attempt {reply['attempt']}"
                f"  since {seconds:.0f} s  by {reply['worker'] or 'nobody'}  {state}"
                f"{'  to be stopped' if reply['stop_requested'] else ''}"
            )
        self.stdout.write(f"{len(replies)} being written.")
