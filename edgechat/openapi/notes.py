"""What views say about themselves in the OpenAPI file. Only the process that makes the file reads it.

drf-spectacular's own decorator would import its generator, and Django's test client with it, into every server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from edgechat.errors import ApiError

F = TypeVar("F", bound=Callable[..., Any])

_notes: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def extend_schema(**keywords: Any) -> Callable[[F], F]:
    """drf-spectacular's decorator of this name for a view's method, which takes effect when the file is made."""

    def note(method: F) -> F:
        _notes.append((method, keywords))
        return method

    return note


def raises(
    *errors: type[ApiError], failing: tuple[type[ApiError], ...] = (), failed_with: Any = None
) -> Callable[[F], F]:
    """Publish the errors that a view's method answers beyond those that follow from its parameters (`BodySchema`).

    `failed_with`: the context that errors of the kinds `failing` have, and faults of the server or a store may have.
    """

    def mark(method: F) -> F:
        method.raises = errors  # type: ignore[attr-defined]
        method.failing, method.failed_with = failing, failed_with  # type: ignore[attr-defined]
        return method

    return mark


def apply_notes(endpoints: list[Any]) -> list[Any]:
    """A hook of drf-spectacular before it reads the views."""
    from drf_spectacular.utils import extend_schema as extend_schema_now

    while _notes:
        method, keywords = _notes.pop(0)
        extend_schema_now(**keywords)(method)
    return endpoints


def sends(*names: str, on: tuple[int, ...] = (200,)) -> Callable[[F], F]:
    """Publish headers of a view's method, for the answers of these statuses."""

    def mark(method: F) -> F:
        sent: dict[int, tuple[str, ...]] = getattr(method, "sends", {})
        method.sends = {**sent, **{status: (*sent.get(status, ()), *names) for status in on}}  # type: ignore[attr-defined]
        return method

    return mark
