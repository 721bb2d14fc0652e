from typing import Any

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from accounts import (
            data_export,
            deletion,
            endings,
            login_lock,
            open_calls,
            schema,  # noqa: F401  (registers itself)
            slots,
        )
        from edgechat import notices, periodic

        notices.listen(endings.ENDED, open_calls.hear_ended)
        # Signals, for memberships also end with their organization, and change in the admin.
        for signal in (post_delete, post_save):
            signal.connect(_tell_membership, sender="accounts.Membership", dispatch_uid="accounts.open_calls")
        data_export.register_exporter(data_export.export_account, types=data_export.ACCOUNT_TYPES)
        periodic.register(deletion.finish_deletions, seconds=60)
        periodic.register(login_lock.prune_login_attempts, seconds=600)
        periodic.register(open_calls.check_open_calls, seconds=open_calls.CHECK_SECONDS)
        periodic.register(open_calls.notice_hang_ups, seconds=open_calls.HANG_UP_SECONDS)
        periodic.register(slots.renew_slots, seconds=slots.RENEW_SECONDS)


def _tell_membership(instance: Any, **_: Any) -> None:
    from accounts.endings import organization_subject, tell_ended

    if instance.user_id is not None:
        tell_ended(organization_subject(instance.organization_id))
