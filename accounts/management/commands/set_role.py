"""Changes the role of a user, and adds the user to a group of staff."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import User
from accounts.staff.roles import add_to_group, set_role


class Command(BaseCommand):
    help = "Set the role of a user, by e-mail address: user, admin (staff), or superuser (who can change roles)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("role", choices=["user", "admin", "superuser"])
        parser.add_argument("--group", help="add an admin to this group: support, finance, auditor, transcript reader")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        email, role = options["email"], options["role"]
        group = _group(options["group"], role=role) if options["group"] else None
        found = User.objects.with_email(email)
        user = found and User.objects.select_for_update(no_key=True).filter(pk=found.pk).first()
        if not user:
            raise CommandError(f"There is no user {email}.")
        if (user.is_staff, user.is_superuser) == (role != "user", role == "superuser"):
            self.stdout.write(f"{user.email} has the role {role} already.")
        else:
            set_role(user=user, role=role, actor_id=None, caller=None)
            self.stdout.write(f"{user.email} has the role {role} now.")
        if group is None:
            return
        if user.groups.contains(group):
            self.stdout.write(f"{user.email} is in the group {group.name} already.")
        else:
            add_to_group(user=user, group=group)
            self.stdout.write(f"{user.email} is in the group {group.name} now.")


def _group(name: str, *, role: str) -> Group:
    if role != "admin":
        raise CommandError("Only admins need a group: users see no admin, and superusers may do everything.")
    group = Group.objects.filter(name__iexact=name).first()
    if group is None:
        names = ", ".join(Group.objects.order_by("name").values_list("name", flat=True))
        raise CommandError(f"There is no group {name}. The groups are: {names or 'none'}.")
    return group
