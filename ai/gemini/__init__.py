"""Google's Gemini: the only package that imports google-genai.

It has no access to the ledger or to HTTP requests; every exception of the SDK becomes a ModelError.
"""

from ai.gemini.answers import COMPLETE, Chunk
from ai.gemini.call_control import CallCancelled, CallControl
from ai.gemini.client import count_tokens, fetch_models, load_sdk, prepare, stream_answer
from ai.gemini.errors import ModelError, ModelOutputInvalid, ModelQuotaExceeded
from ai.gemini.prompts import (
    Content,
    Function,
    FunctionCall,
    FunctionResult,
    Prompt,
    PromptPicture,
    Sampling,
    Tools,
)

__all__ = [
    "COMPLETE",
    "CallCancelled",
    "CallControl",
    "Chunk",
    "Content",
    "Function",
    "FunctionCall",
    "FunctionResult",
    "ModelError",
    "ModelOutputInvalid",
    "ModelQuotaExceeded",
    "Prompt",
    "PromptPicture",
    "Sampling",
    "Tools",
    "count_tokens",
    "fetch_models",
    "load_sdk",
    "prepare",
    "stream_answer",
]
