from django.db import migrations


class Migration(migrations.Migration):
    """Django's sessions are in the browsers' cookies now; their table named users who are deleted."""

    dependencies = [("accounts", "0007_admin_sessions")]

    operations = [migrations.RunSQL("DROP TABLE IF EXISTS django_session", migrations.RunSQL.noop)]
