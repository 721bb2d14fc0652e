"""Input and output of the AI calls."""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers

MAX_PROMPT_CHARACTERS = 32_000
MAX_SYSTEM_INSTRUCTION_CHARACTERS = 8_000
# Beyond any real schema, and within what each recursion on the way to the model can take.
MAX_SCHEMA_DEPTH = 32


class CompleteInput(serializers.Serializer[Any]):
    prompt = serializers.CharField(max_length=MAX_PROMPT_CHARACTERS, trim_whitespace=False)
    system_instruction = serializers.CharField(
        max_length=MAX_SYSTEM_INSTRUCTION_CHARACTERS, required=False, allow_null=True, allow_blank=True, default=None
    )
    response_schema = serializers.DictField(
        required=False, allow_null=True, default=None, help_text="A JSON schema that the answer will follow."
    )

    def validate_response_schema(self, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if _depth_exceeds(value, MAX_SCHEMA_DEPTH):
            raise serializers.ValidationError(f"May be nested {MAX_SCHEMA_DEPTH} levels deep at most.")
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:  # a number without a JSON form, or half of a surrogate pair
            raise serializers.ValidationError("Holds a number or a character that cannot be sent on.") from None
        return value


class TokenUsageOutput(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField(help_text="Thinking included.")
    total_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Of the input.")
    thinking_tokens = serializers.IntegerField(help_text="Of the output.")
    estimated = serializers.BooleanField(help_text="The model did not say; these are estimates.")


class CompletionOutput(serializers.Serializer[Any]):
    text = serializers.CharField()
    model = serializers.CharField()
    finish_reason = serializers.CharField(allow_null=True)
    usage = TokenUsageOutput()
    cached = serializers.BooleanField()


class ModelOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    input_token_limit = serializers.IntegerField()
    output_token_limit = serializers.IntegerField()
    vision = serializers.BooleanField()


class ModelsOutput(serializers.Serializer[Any]):
    models = ModelOutput(many=True)


def _depth_exceeds(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested deeper; looks no further than that."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(children) and (levels == 0 or any(_depth_exceeds(child, levels - 1) for child in children))
