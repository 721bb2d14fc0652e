from django.apps import AppConfig


class AiConfig(AppConfig):
    name = "ai"

    def ready(self) -> None:
        from accounts.lifecycle.deletion import register_eraser
        from ai.calls import cache
        from ai.openai import signatures

        register_eraser(cache.forget_answers)
        register_eraser(signatures.forget_signatures)
