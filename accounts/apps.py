from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import deletion, schema  # noqa: F401  (the schema extension registers itself)
        from edgechat import periodic

        periodic.register(deletion.finish_deletions, seconds=60)
