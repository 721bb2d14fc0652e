from django.db import migrations, models

from edgechat.stores.postgresql.migration_operations import AddFieldRepeatably, AddIndexRepeatably

OF_DETAILS = """
    UPDATE accounts_auditevent SET organization_id = (details->>'organization')::bigint
     WHERE organization_id IS NULL AND jsonb_typeof(details->'organization') = 'number'
"""
OF_STAFF_CHANGES = """
    UPDATE accounts_auditevent SET organization_id = (details->>'id')::bigint
     WHERE organization_id IS NULL AND event = 'staff_change' AND details->>'model' = 'accounts.organization'
       AND details->>'id' ~ '^[0-9]{1,18}$'
"""


class Migration(migrations.Migration):
    atomic = False  # the indexes are built while others write
    dependencies = [("accounts", "0011_imports")]

    operations = [
        migrations.AlterField(
            "AuditEvent",
            "event",
            models.CharField(
                max_length=30,
                choices=[
                    ("registered", "Registered"),
                    ("login", "Login"),
                    ("login_failed", "Login Failed"),
                    ("login_refused", "Login Refused"),
                    ("refresh_reused", "Refresh Reused"),
                    ("session_ended", "Session Ended"),
                    ("password_changed", "Password Changed"),
                    ("role_changed", "Role Changed"),
                    ("activated", "Activated"),
                    ("deactivated", "Deactivated"),
                    ("account_deleted", "Account Deleted"),
                    ("transcript_read", "Transcript Read"),
                    ("data_exported", "Data Exported"),
                    ("budget_set", "Budget Set"),
                    ("email_changed", "Email Changed"),
                    ("membership_changed", "Membership Changed"),
                    ("staff_change", "Staff Change"),
                    ("reauthenticated", "Reauthenticated"),
                    ("api_key_created", "Api Key Created"),
                    ("api_key_ended", "Api Key Ended"),
                    ("conversations_imported", "Conversations Imported"),
                ],
            ),
        ),
        AddFieldRepeatably(
            "AuditEvent",
            "organization_id",
            models.BigIntegerField(
                null=True, blank=True, help_text="The organization that it concerns; kept after deletion."
            ),
        ),
        migrations.RunSQL([OF_DETAILS, OF_STAFF_CHANGES], migrations.RunSQL.noop),
        AddIndexRepeatably("AuditEvent", models.Index(fields=["request_id"], name="audit_request")),
        AddIndexRepeatably("AuditEvent", models.Index(fields=["actor_id"], name="audit_actor")),
        AddIndexRepeatably("AuditEvent", models.Index(fields=["event", "-id"], name="audit_event")),
        AddIndexRepeatably(
            "AuditEvent",
            models.Index(
                fields=["organization_id"],
                name="audit_organization",
                condition=models.Q(organization_id__isnull=False),
            ),
        ),
    ]
