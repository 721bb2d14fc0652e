from django.db import migrations


class Migration(migrations.Migration):
    """Request records may have been deleted before it was written down since when they are whole."""

    dependencies = [("usage", "0003_budgets_and_costs")]

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
