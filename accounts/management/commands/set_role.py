"""Changes the role of a user."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import User
from accounts.staff.roles import set_role


class Command(BaseCommand):
    help = "Set the role of a user, by e-mail address: user, admin (staff), or superuser (who can change roles)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("role", choices=["user", "admin", "superuser"])

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        email, role = options["email"], options["role"]
        found = User.objects.with_email(email)
        user = found and User.objects.select_for_update(no_key=True).filter(pk=found.pk).first()
        if not user:
            raise CommandError(f"There is no user {email}.")
        if (user.is_staff, user.is_superuser) == (role != "user", role == "superuser"):
            self.stdout.write(f"{user.email} has the role {role} already.")
            return
        set_role(user=user, role=role, actor_id=None, caller=None)
        self.stdout.write(f"{user.email} has the role {role} now.")
