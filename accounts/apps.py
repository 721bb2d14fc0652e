from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import deletion, login_lock, schema  # noqa: F401  (the schema extension registers itself)
        from edgechat import periodic

        periodic.register(deletion.finish_deletions, seconds=60)
        periodic.register(login_lock.prune_login_attempts, seconds=600)
