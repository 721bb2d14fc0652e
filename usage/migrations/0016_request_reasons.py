from django.db import migrations, models

from edgechat.stores.postgresql.migration_operations import AddFieldRepeatably, AddIndexRepeatably


class Migration(migrations.Migration):
    atomic = False  # the index is built while others write
    dependencies = [("usage", "0015_long_requests")]

    operations = [
        AddFieldRepeatably(
            "RequestRecord",
            "reason",
            models.CharField(
                max_length=60,
                blank=True,
                default="",
                db_default="",
                help_text="The code of the error that was answered, and which limit refused it: budget_exceeded:user_month.",
            ),
        ),
        AddIndexRepeatably(
            "RequestRecord",
            models.Index(fields=["reason", "-at"], name="request_reason", condition=~models.Q(reason="")),
        ),
    ]
