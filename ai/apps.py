from django.apps import AppConfig


class AiConfig(AppConfig):
    name = "ai"

    def ready(self) -> None:
        from accounts.deletion import register_eraser
        from ai import cache
        from edgechat import periodic

        register_eraser(cache.forget_answers)
        periodic.register(cache.renew_leases, seconds=cache.RENEW_SECONDS)
