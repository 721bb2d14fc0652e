from django.apps import AppConfig
from django.db.models.signals import pre_delete


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from accounts.lifecycle import pruning as accounts_pruning
        from accounts.lifecycle.data_export import register_exporter
        from accounts.lifecycle.deletion import register_eraser
        from accounts.lifecycle.extent import register_stored, rows_in
        from edgechat.metrics import sampling
        from edgechat.processes import periodic
        from usage import account_export, process_reports, processes, pruning
        from usage.ledger import budget_warnings
        from usage.ledger import queries as ledger_queries
        from usage.ledger import services as ledger
        from usage.models import Budget, EarlyRefusal, LedgerEntry, OrganizationUsage, RequestRecord
        from usage.reports import services as reports
        from usage.requests import queries, refusals
        from usage.requests import services as requests

        register_eraser(ledger.anonymize_user)
        register_stored(
            "user",
            rows_in(RequestRecord, "user_id", called=("request", "requests")),
            rows_in(EarlyRefusal, "user_id", called=("sum of early refusals", "sums of early refusals")),
            rows_in(Budget, "user_id"),
            rows_in(LedgerEntry, "user_id", kept="kept without a name"),
        )
        register_stored(
            "organization",
            rows_in(Budget, "organization_id"),
            rows_in(OrganizationUsage, "organization_id", called=("hour of usage", "hours of usage")),
            rows_in(LedgerEntry, "organization_id", kept="kept without the organization"),
        )
        pre_delete.connect(ledger.forget_user, sender="accounts.User", dispatch_uid="usage")
        pre_delete.connect(ledger.forget_organization, sender="accounts.Organization", dispatch_uid="usage")
        register_exporter(account_export.export_usage, types=account_export.TYPES)
        sampling.register_backlog(queries.measure_backlog)
        sampling.register_backlog(ledger_queries.measure_open_calls)
        periodic.register(requests.collect_new_requests, seconds=1)
        periodic.register(refusals.store_refusals, seconds=refusals.STORE_SECONDS)
        periodic.register(ledger.settle_deferred, seconds=2)
        periodic.register(processes.keep_alive, seconds=processes.HEARTBEAT_SECONDS)
        periodic.register(process_reports.report_process, seconds=process_reports.REPORT_SECONDS)
        periodic.register(ledger.settle_abandoned, seconds=5)
        periodic.register(reports.sum_up_costs, seconds=60)
        pruning.register_job("sessions", accounts_pruning.prune_sessions)
        pruning.register_job("audit log", accounts_pruning.prune_audit_log)
        pruning.register_job("request records", requests.prune_requests)
        pruning.register_job("early refusals", refusals.prune_refusals)
        periodic.register(pruning.prune_when_due, seconds=pruning.LOOK_SECONDS)
        periodic.register(budget_warnings.warn_of_budgets, seconds=30)
