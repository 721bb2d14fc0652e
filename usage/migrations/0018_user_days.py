import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0017_names_for_staff"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="UserDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("date", models.DateField()),
                ("requests", models.PositiveBigIntegerField(default=0)),
                ("failed", models.PositiveBigIntegerField(default=0, help_text="Requests answered with 400 and above.")),
                ("calls", models.PositiveBigIntegerField(default=0)),
                (
                    "unpriced_calls",
                    models.PositiveBigIntegerField(default=0, help_text="Calls of models without a price."),
                ),
                ("input_tokens", models.PositiveBigIntegerField(default=0)),
                ("output_tokens", models.PositiveBigIntegerField(default=0)),
                ("cost_micros", models.PositiveBigIntegerField(default=0)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="Empty: calls of deleted accounts and calls without a user.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("-date",),
                "constraints": [
                    models.UniqueConstraint(fields=("user", "date"), name="user_day_once", nulls_distinct=False)
                ],
            },
        ),
    ]
