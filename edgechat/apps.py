from django.apps import AppConfig


class EdgechatConfig(AppConfig):
    name = "edgechat"

    def ready(self) -> None:
        from edgechat import checks  # noqa: F401  (registers the system checks)
