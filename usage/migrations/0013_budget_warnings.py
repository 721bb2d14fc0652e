import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

ONE_OWNER = models.Q(user__isnull=False, organization__isnull=True) | models.Q(
    user__isnull=True, organization__isnull=False
)

class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("accounts", "0012_audit_search"),
        ("usage", "0012_pruning"),
    ]

    operations = [
        migrations.AddField(
            "Spending",
            "month_cost_micros",
            models.PositiveBigIntegerField(
                default=0,
                db_default=0,
                help_text="Of the calls with a price, in millionths of the currency of the prices.",
            ),
        ),
        migrations.CreateModel(
            "BudgetWarning",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("period", models.CharField(choices=[("month", "Month"), ("day", "Day")], max_length=5)),
                ("begins", models.DateField(help_text="The first day of the period, UTC.")),
                (
                    "percent",
                    models.PositiveSmallIntegerField(help_text="80, or 100 for a budget that is used up."),
                ),
                ("sent_at", models.DateTimeField(db_default=Now())),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "organization", "period", "begins", "percent"),
                        name="budget_warning_once",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(condition=ONE_OWNER, name="budget_warning_of_a_user_or_an_organization"),
                ],
            },
        ),
    ]
