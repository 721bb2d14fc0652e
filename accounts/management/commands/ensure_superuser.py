"""Creates the first superuser from the environment."""

from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts.addresses import refuse_incomparable
from accounts.audit import record_event
from accounts.login.passwords import MAX_PASSWORD, MIN_PASSWORD, normalized
from accounts.models import AuditEvent, User


class Command(BaseCommand):
    help = (
        "Create the superuser of FIRST_SUPERUSER_EMAIL and FIRST_SUPERUSER_PASSWORD. An existing user is not changed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        email, password = settings.FIRST_SUPERUSER_EMAIL, settings.FIRST_SUPERUSER_PASSWORD
        if not email:
            self.stdout.write("FIRST_SUPERUSER_EMAIL is not set: nothing to do.")
            return
        try:
            validate_email(email)
            refuse_incomparable(email)
        except ValidationError:
            raise CommandError("FIRST_SUPERUSER_EMAIL is not an e-mail address.") from None
        if not MIN_PASSWORD <= len(normalized(password)) <= MAX_PASSWORD:
            raise CommandError(f"FIRST_SUPERUSER_PASSWORD must have {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
        if User.objects.with_email(email) is None:
            try:
                validate_password(password)
            except ValidationError as error:
                raise CommandError(f"FIRST_SUPERUSER_PASSWORD: {' '.join(error.messages)}") from None
            try:
                with transaction.atomic():
                    user = User.objects.create_superuser(email, password, is_verified=True)
                    record_event(AuditEvent.Event.REGISTERED, user_id=user.pk, role=user.role, superuser=True)
            except IntegrityError:  # another instance that starts at the same time
                pass
            else:
                self.stdout.write(f"Made the superuser {email}.")
                return
        self.stdout.write(f"There is a user {email} already; left as it is.")
