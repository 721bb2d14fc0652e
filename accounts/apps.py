from typing import Any

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from accounts.lifecycle import data_export, deletion, extent
        from accounts.login import login_lock
        from accounts.models import ApiKey, AuditEvent, Membership, Session
        from accounts.open_calls import endings, slots
        from accounts.open_calls import registry as open_calls
        from edgechat.http import notices
        from edgechat.metrics import sampling
        from edgechat.processes import periodic

        notices.listen(endings.ENDED, open_calls.hear_ended)
        # Signals, because memberships also end with their organization and change in the admin.
        for signal in (post_delete, post_save):
            signal.connect(
                _announce_membership, sender="accounts.Membership", dispatch_uid="accounts.open_calls.registry"
            )
        data_export.register_exporter(data_export.export_account, types=data_export.ACCOUNT_TYPES)
        extent.register_stored(
            "user",
            extent.rows_in(Session, "user_id"),
            extent.rows_in(ApiKey, "user_id"),
            extent.rows_in(Membership, "user_id"),
            extent.rows_in(AuditEvent, "user_id", kept="kept"),
        )
        extent.register_stored("organization", extent.rows_in(Membership, "organization_id"))
        periodic.register(deletion.finish_deletions, seconds=60)
        periodic.register(deletion.erase_late_writes_in_turn, seconds=60)
        sampling.register_backlog(deletion.measure_pending_deletions)
        periodic.register(login_lock.prune_login_attempts, seconds=600)
        periodic.register(open_calls.check_open_calls, seconds=open_calls.CHECK_SECONDS)
        periodic.register(open_calls.notice_hang_ups, seconds=open_calls.HANG_UP_SECONDS)
        periodic.register(slots.renew_slots, seconds=slots.RENEW_SECONDS)


def _announce_membership(instance: Any, **_: Any) -> None:
    from accounts.open_calls.endings import announce_end, organization_subject

    if instance.user_id is not None:
        announce_end(organization_subject(instance.organization_id))
