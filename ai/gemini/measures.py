"""Measures the calls to the model by OpenTelemetry's conventions for generative AI.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from urllib.parse import urlsplit

from django.conf import settings

from ai.gemini.answers import Chunk
from ai.gemini.call_control import CallCancelled
from edgechat.metrics import catalog
from edgechat.metrics.labels import error_label, model_label

OPERATION, PROVIDER = "generate_content", "gcp.gemini"
GOOGLE = "https://generativelanguage.googleapis.com"
CANCELLED = "cancelled"

_labels_of = functools.cache(lambda metric, *labels: metric.labels(*labels))


def measured(chunks: Generator[Chunk]) -> Iterator[Chunk]:
    """The chunks of one call, which is measured. Raises what they raise; closing the iterator closes them."""
    began, last, answered_by, error_type = time.monotonic(), 0.0, "", ""
    try:
        with closing(chunks):
            for chunk in chunks:
                now = time.monotonic()
                answered_by = answered_by or model_label(chunk.model or "")
                metric = catalog.gen_ai_output_chunk if last else catalog.gen_ai_first_chunk
                _labels_of(metric, *_labels(answered_by)).observe(now - (last or began))
                last = now
                yield chunk
    except CallCancelled:
        error_type = CANCELLED
        raise
    except Exception as error:
        error_type = error_label(_type_of(error))
        raise
    finally:
        _labels_of(catalog.gen_ai_duration, *_labels(answered_by), error_type).observe(time.monotonic() - began)


def _type_of(error: Exception) -> str:
    """The status that the model answered, or the name of the exception under ours."""
    cause = error.__cause__ or error
    return str(getattr(cause, "code", None) or type(cause).__name__)


@functools.lru_cache(maxsize=64)
def _labels(answered_by: str) -> tuple[str, ...]:
    url = urlsplit(settings.GEMINI_BASE_URL or GOOGLE)
    port = url.port or (443 if url.scheme == "https" else 80)
    return OPERATION, PROVIDER, settings.GEMINI_MODEL, answered_by, url.hostname or "", str(port)
