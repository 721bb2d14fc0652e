from django.db import migrations


class Migration(migrations.Migration):
    """Sets `raw_since` where request records may have been deleted before this column existed."""

    dependencies = [("usage", "0004_ledger_holders")]

    operations = [
        migrations.RunSQL(
            """
            UPDATE usage_recorderposition
               SET raw_since = coalesce((SELECT min(at) FROM usage_requestrecord), now())
             WHERE raw_since IS NULL AND EXISTS (SELECT FROM usage_hourlyusage WHERE requests > 0)
            """,
            migrations.RunSQL.noop,
        )
    ]
