"""The texts of the scripted model. Every function here is pure."""

import io
import itertools
import re
from collections.abc import Iterable
from typing import Any

from edgechat.local.model_server.gemini_protocol import ModelCall, Picture

PICTURE_TOKENS = 258
WORDS_PER_CHUNK = 3
MAX_DEFAULT_CHUNKS = 4
MAX_SCHEMA_DEPTH = 20
# Two, three and four byte characters, a joined emoji and a combining accent: a careless split breaks these.
SAMPLE_WORDS = (
    "Grüße",
    "naïve",
    "世界",
    "🚀",
    "café",
    "👩‍👩‍👧",
    "Ω≈ç√",
    "plain",
    "e\u0301te\u0301",
    "\U0001f1e9\U0001f1ea",
)


def count_text_tokens(characters: int) -> int:
    """One token for 4 characters, rounded up."""
    return -(-characters // 4)


def count_prompt_tokens(call: ModelCall) -> int:
    """The tokens of all texts and the system instruction together, plus 258 for each picture."""
    characters = len(call.system_instruction) + sum(len(content.text) for content in call.contents)
    return count_text_tokens(characters) + PICTURE_TOKENS * sum(len(content.pictures) for content in call.contents)


def text_of_length(length: int) -> str:
    """A text of exactly that many characters, with numbers that reveal a lost or repeated part."""
    words: list[str] = []
    total = index = 0
    while total < length:
        word = f"{index}{SAMPLE_WORDS[index % len(SAMPLE_WORDS)]} "
        words.append(word)
        total += len(word)
        index += 1
    return "".join(words)[:length]


def split_text(text: str, chunks: int | None) -> list[str]:
    """Exactly `chunks` pieces that join to `text`. None: one piece for every three words, four at most.

    Pieces are groups of words; with too few words, groups of characters; with too few characters, some pieces are
    empty.
    """
    words = re.findall(r"\s*\S+\s*$|\s*\S+", text) or [text]
    if chunks is None:
        chunks = min(MAX_DEFAULT_CHUNKS, -(-len(words) // WORDS_PER_CHUNK))
    units: Iterable[str] = words if len(words) >= chunks else text
    sequence = list(units)
    bounds = [index * len(sequence) // chunks for index in range(chunks + 1)]
    return ["".join(sequence[first:last]) for first, last in itertools.pairwise(bounds)]


def describe_picture(picture: Picture) -> str:
    """` [image 40x30 image/png bytes=123]`; without the size if Pillow is missing or cannot read the picture."""
    size = ""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(picture.data)) as image:
            size = f" {image.width}x{image.height}"
    except (ImportError, OSError, ValueError):
        size = ""
    return f" [image{size} {picture.mime_type} bytes={len(picture.data)}]"


def sample_for_schema(schema: dict[str, Any]) -> Any:
    """The smallest value that is valid for a JSON Schema, with every property given."""
    return sample(schema, schema, 0)


def sample(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH:
        return None
    if "$ref" in schema:
        return sample(resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return sample(schema[name][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema or not schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = [name for name in properties if depth < 4 or name in schema.get("required", [])]
        return {name: sample(properties[name], root, depth + 1) for name in wanted}
    if kind == "array":
        count = max(int(schema.get("minItems", 0)), 1 if schema.get("maxItems", 1) else 0)
        return [sample(schema.get("items", {"type": "string"}), root, depth + 1) for _ in range(count)]
    if kind == "string":
        return sample_string(schema)
    if kind in ("integer", "number"):
        lowest = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        return min(lowest, schema["maximum"]) if "maximum" in schema else lowest
    return True if kind == "boolean" else None


def resolve(reference: str, root: dict[str, Any]) -> Any:
    target: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target.get(step) if isinstance(target, dict) else None
    return target


def sample_string(schema: dict[str, Any]) -> str:
    dated = {"date-time": "2025-01-01T00:00:00Z", "date": "2025-01-01", "time": "00:00:00Z"}
    if schema.get("format") in dated:
        return dated[schema["format"]]
    text = "text".ljust(int(schema.get("minLength", 0)), "t")
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text
