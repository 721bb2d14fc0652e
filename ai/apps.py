from django.apps import AppConfig


class AiConfig(AppConfig):
    name = "ai"

    def ready(self) -> None:
        from accounts.lifecycle.deletion import register_eraser
        from ai.calls import cache

        register_eraser(cache.forget_answers)
