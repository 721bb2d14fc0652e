"""One prompt and one answer."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from ai.calls.answers import Answer, Pieces
from ai.gemini import Content, Prompt
from ai.serializers import AnswerOutput, CompletionOutput
from edgechat.errors import TooLarge
from usage.models import LedgerEntry


class PromptAnswer(Answer):
    """The answer to one prompt, outside any conversation. Raises TooLarge if the prompt exceeds a call's limit."""

    def __init__(self, *, user_id: int, prompt: Prompt, purpose: LedgerEntry.Purpose) -> None:
        super().__init__(user_id=user_id, purpose=purpose)
        if prompt.estimated_tokens() > settings.CONTEXT_MAX_TOKENS:
            raise TooLarge(f"The prompt is longer than the {settings.CONTEXT_MAX_TOKENS} tokens that a call may have")
        self.prompt = prompt

    def cache_parts(self) -> list[Any] | None:
        return None

    def make(self) -> Pieces:
        return (yield from self.ask(self.prompt))

    def body(self) -> AnswerOutput:
        made = self.completion
        return CompletionOutput(
            text=made.text,
            model=made.model,
            finish_reason=made.finish_reason,
            usage=made.usage.as_body(),
            cached=made.cached,
        )


class TextAnswer(PromptAnswer):
    """The answer to a text; cached."""

    def __init__(
        self,
        *,
        user_id: int,
        prompt: str,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            user_id=user_id,
            prompt=Prompt((Content("user", prompt),), system_instruction, response_schema),
            purpose=LedgerEntry.Purpose.COMPLETE,
        )

    def cache_parts(self) -> list[Any]:
        [content], prompt = self.prompt.contents, self.prompt
        return [
            "complete",
            content.text,
            prompt.system_instruction,
            prompt.response_schema,
            prompt.max_output_tokens,
        ]
