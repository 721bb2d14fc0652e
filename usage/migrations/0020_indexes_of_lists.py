"""An index for each filter of the admin's lists, in the order of the list."""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Coalesce, NullIf

from edgechat.stores.postgresql.migration_operations import AddIndexRepeatably


def without_index(model, name, field, index, column):
    """The foreign key's own index is dropped, because another one starts with its column."""
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.RunSQL(
                f"DROP INDEX CONCURRENTLY IF EXISTS {index}",
                f"CREATE INDEX CONCURRENTLY {index} ON usage_{model.lower()} ({column})",
            )
        ],
        state_operations=[migrations.AlterField(model, name, field)],
    )


class Migration(migrations.Migration):
    atomic = False  # the indexes are built while others write
    dependencies = [("usage", "0019_past_user_days")]

    operations = [
        AddIndexRepeatably(
            "UserDay",
            models.Index(
                fields=["date"],
                include=("user", "cost_micros", "input_tokens", "output_tokens"),
                name="user_day_calls",
                condition=models.Q(calls__gt=0),
            ),
        ),
        AddIndexRepeatably("HourlyUsage", models.Index(fields=["hour"], name="hourly_usage_hour")),
        AddIndexRepeatably("RequestRecord", models.Index(fields=["user", "-at"], name="request_user")),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(fields=["user", "-at"], name="request_user_failed", condition=models.Q(status__gte=400)),
        ),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(fields=["status", "-at"], name="request_status", condition=~models.Q(status=200)),
        ),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(
                fields=["milliseconds"], name="request_slowest", condition=models.Q(milliseconds__gte=1000)
            ),
        ),
        AddIndexRepeatably("RequestRecord", models.Index(fields=["route"], name="request_route")),
        RemoveIndexConcurrently("RequestRecord", "request_errors"),
        without_index(
            "RequestRecord",
            "user",
            models.ForeignKey(
                settings.AUTH_USER_MODEL, on_delete=django.db.models.deletion.CASCADE, related_name="+", db_index=False
            ),
            "usage_requestrecord_user_id_16f160f9",
            "user_id",
        ),
        AddIndexRepeatably(
            "LedgerEntry",
            models.Index(
                fields=["organization", "-settled_at"],
                name="ledger_organization",
                condition=models.Q(organization__isnull=False),
            ),
        ),
        AddIndexRepeatably(
            "LedgerEntry",
            models.Index(
                Coalesce(NullIf("answered_by", models.Value("")), "model"),
                models.F("settled_at").desc(),
                name="ledger_model_settled",
            ),
        ),
        AddIndexRepeatably(
            "LedgerEntry", models.Index(fields=["purpose", "-settled_at"], name="ledger_purpose_settled")
        ),
        AddIndexRepeatably(
            "LedgerEntry",
            models.Index(fields=["-settled_at"], name="ledger_estimates", condition=models.Q(estimated=True)),
        ),
        RemoveIndexConcurrently("LedgerEntry", "ledger_paid_model"),
        RemoveIndexConcurrently("LedgerEntry", "ledger_purpose"),
        RemoveIndexConcurrently("LedgerEntry", "ledger_estimated"),
        without_index(
            "LedgerEntry",
            "organization",
            models.ForeignKey(
                "accounts.Organization",
                on_delete=django.db.models.deletion.SET_NULL,
                null=True,
                blank=True,
                related_name="ledger_entries",
                db_index=False,
            ),
            "usage_ledgerentry_organization_id_0c2bd9cc",
            "organization_id",
        ),
    ]
