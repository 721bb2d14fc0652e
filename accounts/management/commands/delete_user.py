"""Deletes an account with all its data."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.addresses import email_key
from accounts.lifecycle.deletion import delete_user
from accounts.models import User


class Command(BaseCommand):
    help = "Delete a user with all data, from every store. This cannot be undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.with_email(options["email"])
        if user is None:
            raise CommandError(f"There is no user {options['email']}.")
        if not options["yes"] and not self._agrees(user):
            raise CommandError("Nothing was deleted.")
        if not delete_user(user=user, caller=None, actor_id=None):
            raise CommandError(
                f"{user.email} is shut out, but a store failed; the web processes go on trying to delete the rest."
            )
        self.stdout.write(f"Deleted {user.email}, user {user.pk}, with all data.")

    def _agrees(self, user: User) -> bool:
        self.stdout.write(f"User {user.pk}, {user.email}, with all conversations, pictures and todos will be deleted.")
        try:
            return email_key(input("Type the e-mail to delete them: ")) == email_key(user.email)
        except EOFError:
            return False
