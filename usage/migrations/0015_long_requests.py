from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0014_costs_of_the_month")]

    operations = [
        migrations.AddField(
            "RequestRecord",
            "is_long",
            models.BooleanField(
                default=False,
                db_default=False,
                help_text="A send, an event stream, a call to the model, an export, a picture. `milliseconds` is then the time "
                "until its answer began, and is not part of the latency.",
            ),
        ),
    ]
