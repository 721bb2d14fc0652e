from django.db import migrations, models
from django.db.models.functions import Coalesce, NullIf

from edgechat.stores.postgresql.migration_operations import AddFieldRepeatably, AddIndexRepeatably


class Migration(migrations.Migration):
    atomic = False  # the indexes are built while others write
    dependencies = [("usage", "0010_failed_requests")]

    operations = [
        AddFieldRepeatably(
            "RequestRecord",
            "request_id",
            models.CharField(
                max_length=128,
                blank=True,
                default="",
                db_default="",
                help_text="As in X-Request-ID and in every error; a client may choose it.",
            ),
        ),
        AddFieldRepeatably(
            "LedgerEntry",
            "request_id",
            models.CharField(
                max_length=128,
                blank=True,
                default="",
                db_default="",
                help_text="The request that asked for it; empty for calls that a process makes by itself.",
            ),
        ),
        AddIndexRepeatably("RequestRecord", models.Index(fields=["request_id"], name="request_request_id")),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(fields=["status", "-at"], name="request_errors", condition=models.Q(status__gte=400)),
        ),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(fields=["-at"], name="request_slow", condition=models.Q(milliseconds__gte=1000)),
        ),
        AddIndexRepeatably("LedgerEntry", models.Index(fields=["request_id"], name="ledger_request")),
        AddIndexRepeatably(
            "LedgerEntry",
            models.Index(
                Coalesce(NullIf("answered_by", models.Value("")), "model"),
                models.F("id").desc(),
                name="ledger_paid_model",
            ),
        ),
        AddIndexRepeatably("LedgerEntry", models.Index(fields=["purpose", "-id"], name="ledger_purpose")),
        AddIndexRepeatably(
            "LedgerEntry",
            models.Index(fields=["-id"], name="ledger_estimated", condition=models.Q(estimated=True)),
        ),
    ]
