from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import data_export, deletion, login_lock, schema  # noqa: F401  (schema registers itself)
        from edgechat import periodic

        data_export.register_exporter(data_export.export_account, types=data_export.ACCOUNT_TYPES)
        periodic.register(deletion.finish_deletions, seconds=60)
        periodic.register(login_lock.prune_login_attempts, seconds=600)
