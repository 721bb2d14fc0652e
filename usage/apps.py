from typing import Any

from django.apps import AppConfig
from django.db.models.signals import pre_delete


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from accounts.data_export import register_exporter
        from accounts.deletion import register_eraser
        from edgechat import periodic
        from usage import account_export, daily_costs, ledger, processes, recorder

        register_eraser(ledger.anonymize_user)
        pre_delete.connect(_forget_organization, sender="accounts.Organization", dispatch_uid="usage")
        register_exporter(account_export.export_usage, types=account_export.TYPES)
        periodic.register(recorder.collect_requests, seconds=1)
        periodic.register(ledger.settle_deferred, seconds=2)
        periodic.register(processes.keep_alive, seconds=processes.HEARTBEAT_SECONDS)
        periodic.register(ledger.settle_abandoned, seconds=5)
        periodic.register(daily_costs.sum_up_costs, seconds=60)


def _forget_organization(instance: Any, **_: Any) -> None:
    from usage import ledger

    ledger.forget_organization(instance.pk)
