"""Sums of requests that were refused before their user was checked."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("usage", "0020_indexes_of_lists"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="EarlyRefusal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField(help_text="Start of the hour, UTC.")),
                ("status", models.PositiveSmallIntegerField()),
                (
                    "reason",
                    models.CharField(
                        blank=True,
                        help_text="The code of the error that was answered, and which limit refused it.",
                        max_length=60,
                    ),
                ),
                (
                    "route",
                    models.CharField(
                        blank=True,
                        help_text="The path's pattern; empty if it was unknown, or not looked at.",
                        max_length=200,
                    ),
                ),
                ("requests", models.PositiveBigIntegerField()),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="The user whom the token names. Only the limits of an address refuse requests with a valid "
                        "token.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-hour",),
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(("user__isnull", False)), fields=["user", "-hour"], name="early_refusal_user"
                    ),
                    models.Index(fields=["hour"], include=("reason", "requests"), name="early_refusal_sums"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("hour", "status", "reason", "route", "user"),
                        name="early_refusal_once",
                        nulls_distinct=False,
                    )
                ],
            },
        ),
    ]
