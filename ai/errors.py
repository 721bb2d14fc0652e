"""The errors of a request that calls the model."""

from __future__ import annotations

from typing import Annotated, TypedDict

from accounts.open_calls.registry import HungUp
from accounts.open_calls.slots import TooManyReplies
from ai.gemini import ModelError, ModelQuotaExceeded
from ai.serializers import FinishReason
from edgechat.errors import ApiError
from edgechat.http.bodies import Keywords
from usage.ledger.budgets import BudgetExceeded


class BlockedContext(TypedDict):
    finish_reason: Annotated[
        FinishReason, "Why the model withheld its answer, in its own words.", Keywords(example="SAFETY")
    ]


class ContentBlocked(ApiError):
    """The model withheld its answer."""

    status, code, detail = 422, "content_blocked", "The model refused this on safety grounds"
    context_body = BlockedContext

    def __init__(self, finish_reason: str | None) -> None:
        super().__init__(context=BlockedContext(finish_reason=finish_reason))


MODEL_ERRORS = (ModelError, ModelQuotaExceeded, BudgetExceeded, TooManyReplies)
# The errors of a call outside conversations, which ends with its connection.
ONE_OFF_ERRORS = (*MODEL_ERRORS, ContentBlocked, HungUp)
