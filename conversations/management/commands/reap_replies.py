from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Q
from django.db.models.functions import Now

from conversations.replies.take_over import declare_unknown_workers_dead, take_over_replies
from conversations.transcript_repository import find_replies_of
from usage.models import Process


class Command(BaseCommand):
    help = (
        "End the replies of dead processes as interrupted, and keep their text. Web processes start such replies "
        "again, so this command is only needed while no web process is running."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only count them.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            lost = Process.objects.filter(Q(dead=True) | Q(leaving=True) | Q(alive_until__lt=Now()))
            count = sum(1 for process in lost for _ in find_replies_of(process.name, limit=10_000))
            self.stdout.write(f"{count} replies have lost their process.")
            return
        declare_unknown_workers_dead()
        ended = 0
        while taken := take_over_replies(restart=False):
            ended += taken
        self.stdout.write(f"{ended} replies ended as interrupted.")
