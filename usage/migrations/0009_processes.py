from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_dated_prices")]

    operations = [
        # The table keeps its name: processes of the previous version renew their rows in it during the migration and after.
        migrations.RenameModel("LedgerHolder", "Process"),
        migrations.AlterModelTable("Process", "usage_ledgerholder"),
        migrations.AlterModelOptions("Process", {"verbose_name_plural": "processes"}),
        migrations.AddField(
            "Process",
            "held_since",
            models.DateTimeField(db_default=Now(), help_text="The start of the renewals without a gap."),
        ),
        migrations.AddField(
            "Process",
            "leaving",
            models.BooleanField(db_default=False, help_text="The process ends: others may take over its replies."),
        ),
        migrations.AddField(
            "Process",
            "dead",
            models.BooleanField(db_default=False, help_text="Permanent: the row cannot be renewed."),
        ),
    ]
