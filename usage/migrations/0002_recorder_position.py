from django.db import migrations


def create_position(apps, schema_editor):
    apps.get_model("usage", "RecorderPosition").objects.get_or_create(pk=1)


class Migration(migrations.Migration):
    """Creates the one row that the recorder of requests locks and updates."""

    dependencies = [("usage", "0001_initial")]

    operations = [migrations.RunPython(create_position, migrations.RunPython.noop)]
