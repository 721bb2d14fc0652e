from django.db import migrations


class Migration(migrations.Migration):
    """Django's sessions are now in the browsers' cookies. Their table named deleted users."""

    dependencies = [("accounts", "0007_admin_sessions")]

    operations = [migrations.RunSQL("DROP TABLE IF EXISTS django_session", migrations.RunSQL.noop)]
