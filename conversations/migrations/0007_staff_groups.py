"""Makes the groups that a desk of staff needs. Superusers change them in the admin; a later migration does not."""

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

# The permissions of each group, as `app.action_model`.
GROUPS = {
    "Support": [
        "accounts.view_user",
        "accounts.change_user",
        "accounts.view_session",
        "accounts.change_session",
        "accounts.view_apikey",
        "accounts.change_apikey",
        "accounts.view_organization",
        "accounts.view_membership",
        "conversations.view_conversation",
        "usage.view_budget",
        "usage.view_requestrecord",
    ],
    "Finance": [
        "accounts.view_user",
        "accounts.view_organization",
        "usage.view_hourlyusage",
        "usage.view_organizationusage",
        "usage.view_dailytraffic",
        "usage.view_requestrecord",
        "usage.view_ledgerentry",
        "usage.view_dailycost",
        "usage.view_spending",
        "usage.view_budget",
        "usage.add_budget",
        "usage.change_budget",
        "usage.delete_budget",
        "usage.view_modelprice",
        "usage.add_modelprice",
        "usage.change_modelprice",
    ],
    "Auditor": ["accounts.view_auditevent"],
    "Transcript reader": ["conversations.view_conversation", "conversations.view_transcript"],
}


def make_groups(apps, schema_editor):
    # Django makes the permissions after all migrations; here they are needed now.
    for label in ("accounts", "conversations", "usage"):
        create_permissions(installed.get_app_config(label), verbosity=0, using=schema_editor.connection.alias)
    permissions = apps.get_model("auth", "Permission").objects
    for name, codes in GROUPS.items():
        group, made = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        if made:
            for code in codes:
                app, _, codename = code.partition(".")
                group.permissions.add(permissions.get(content_type__app_label=app, codename=codename))


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("accounts", "0010_api_keys"),
        ("conversations", "0006_imports"),
        ("usage", "0009_processes"),
    ]

    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
