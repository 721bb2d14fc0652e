from typing import Any

from django.apps import AppConfig
from django.db.models.signals import pre_delete


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from accounts.lifecycle.data_export import register_exporter
        from accounts.lifecycle.deletion import register_eraser
        from edgechat.processes import periodic
        from usage import account_export, processes
        from usage.ledger import entries as ledger
        from usage.reports import daily_costs
        from usage.requests import recorder

        register_eraser(ledger.anonymize_user)
        pre_delete.connect(_forget_organization, sender="accounts.Organization", dispatch_uid="usage")
        register_exporter(account_export.export_usage, types=account_export.TYPES)
        periodic.register(recorder.collect_requests, seconds=1)
        periodic.register(ledger.settle_deferred, seconds=2)
        periodic.register(processes.keep_alive, seconds=processes.HEARTBEAT_SECONDS)
        periodic.register(ledger.settle_abandoned, seconds=5)
        periodic.register(daily_costs.sum_up_costs, seconds=60)


def _forget_organization(instance: Any, **_: Any) -> None:
    from usage.ledger import entries as ledger

    ledger.forget_organization(instance.pk)
