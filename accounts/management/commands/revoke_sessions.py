"""Logs out a user, or all users, everywhere."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.audit import record_event
from accounts.login.sessions import end_all_sessions, end_sessions_of_all_users
from accounts.models import AuditEvent, Session, User


class Command(BaseCommand):
    help = "Immediately end the sessions of one user, or of all users, with their tokens and their logins to the admin."

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("email", nargs="?")
        whose.add_argument("--all", action="store_true", help="the sessions of all users")
        parser.add_argument("--dry-run", action="store_true", help="only print how many there are")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        sessions, user = Session.objects.live(), None
        if not options["all"]:
            user = User.objects.with_email(options["email"])
            if user is None:
                raise CommandError(f"There is no user {options['email']}.")
            # Lock the user: a simultaneous login either ends with the other sessions or starts after them.
            User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
            sessions = sessions.filter(user=user)
        if options["dry_run"]:
            self.stdout.write(f"Live sessions: {sessions.count()}.")
            return
        if user is None:
            ended = end_sessions_of_all_users(reason="revoked")
        else:
            ended = end_all_sessions(user_id=user.pk, reason="revoked")
        if ended:
            record_event(AuditEvent.Event.SESSION_ENDED, user_id=user.pk if user else None, sessions=ended)
        self.stdout.write(f"Sessions ended: {ended}.")
