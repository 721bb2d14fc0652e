from django.db import migrations, models

from edgechat.stores.postgresql.migration_operations import AddIndexRepeatably


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("usage", "0009_processes")]

    operations = [
        AddIndexRepeatably(
            model_name="requestrecord",
            index=models.Index(fields=["at"], name="request_failed", condition=models.Q(status__gte=400)),
        ),
    ]
