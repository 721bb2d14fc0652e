from django.apps import AppConfig


class AiConfig(AppConfig):
    name = "ai"

    def ready(self) -> None:
        from accounts.deletion import register_eraser
        from ai import cache

        register_eraser(cache.forget_answers)
