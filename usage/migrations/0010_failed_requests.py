from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("usage", "0009_processes")]

    operations = [
        AddIndexConcurrently(
            model_name="requestrecord",
            index=models.Index(fields=["at"], name="request_failed", condition=models.Q(status__gte=400)),
        ),
    ]
