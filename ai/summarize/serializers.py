"""Input and output of /ai/summarize."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ai.summarize.languages import MAX_LANGUAGE_CHARACTERS, is_language
from ai.summarize.prompts import Style
from edgechat.http.validation import LongCharField

MAX_TEXT_CHARACTERS = 1_000_000
MAX_REFERENCE_CHARACTERS = 8_000
SOURCES = ("text", "url", "conversation_id")
STYLES: tuple[Style, ...] = ("paragraph", "bullets", "headline")


class SummarizeInput(serializers.Serializer[Any]):
    """One source, and options for the summary."""

    text = LongCharField(
        max_length=MAX_TEXT_CHARACTERS,
        trim_whitespace=False,
        required=False,
        allow_null=True,
        default=None,
        help_text="A text of up to 1,000,000 characters.",
    )
    url = LongCharField(
        max_length=MAX_REFERENCE_CHARACTERS,
        required=False,
        allow_null=True,
        default=None,
        help_text="Of a page of the public web.",
    )
    conversation_id = LongCharField(
        max_length=MAX_REFERENCE_CHARACTERS,
        required=False,
        allow_null=True,
        default=None,
        help_text="The id of one of the user's conversations.",
    )
    # REST framework has attributes of these names, but it moves declared fields out of their way.
    style = serializers.ChoiceField(STYLES, required=False, default="paragraph", help_text="The form of the summary.")  # type: ignore[assignment]
    max_words = serializers.IntegerField(
        min_value=5,
        max_value=2000,
        required=False,
        allow_null=True,
        default=None,
        help_text="The length that the model is told to keep within.",
    )
    language = LongCharField(
        max_length=MAX_LANGUAGE_CHARACTERS,
        required=False,
        allow_null=True,
        default=None,
        help_text="A BCP 47 tag, `pt-BR`, or a name, `Portuguese (Brazil)`; without it the text's own.",
    )

    def validate_language(self, value: str | None) -> str | None:
        if value is not None and not is_language(value):
            raise serializers.ValidationError("Must be a BCP 47 tag or the name of a language.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if sum(attrs[name] is not None for name in SOURCES) != 1:
            raise serializers.ValidationError(f"Exactly one of {', '.join(SOURCES)} is needed.")
        return attrs
