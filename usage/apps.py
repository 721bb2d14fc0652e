from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from accounts.deletion import register_eraser
        from edgechat import periodic
        from usage import ledger, recorder

        register_eraser(ledger.anonymize_user)
        periodic.register(recorder.collect_requests, seconds=1)
        periodic.register(ledger.settle_deferred, seconds=2)
        periodic.register(ledger.settle_abandoned, seconds=60)
