from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.utils import timezone

from conversations.transcript_repository import list_running
from usage.models import Process


class Command(BaseCommand):
    help = "List the running replies: their start, their process, and the remaining time of its lease."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=100, help="The maximum number of replies to list (100).")

    def handle(self, *args: Any, **options: Any) -> None:
        replies = list_running(limit=options["limit"])
        seconds_left = _seconds_left()
        for conversation in replies:
            reply = conversation["reply"]
            if reply is None:
                continue
            seconds = (timezone.now() - reply["started_at"]).total_seconds()
            self.stdout.write(
                f"{reply['message_id']}  user {conversation['owner_id']}  attempt {reply['attempt']}"
                f"  since {seconds:.0f} s  by {reply['worker']}  {_lease(seconds_left.get(reply['worker']))}"
                f"{'  to be stopped' if reply['stop_requested'] else ''}"
            )
        self.stdout.write(f"{len(replies)} being written.")


def _seconds_left() -> dict[str, float]:
    """The remaining seconds of each process's lease on PostgreSQL's clock, by process name."""
    left = ExpressionWrapper(F("alive_until") - Now(), DurationField())
    alive = Process.objects.filter(dead=False, leaving=False).annotate(left=left).values_list("name", "left")
    return {name: left.total_seconds() for name, left in alive}


def _lease(seconds: float | None) -> str:
    return f"lease {seconds:.0f} s" if seconds is not None and seconds > 0 else "to be taken over"
