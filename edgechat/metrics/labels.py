"""Labels with a bounded number of values, whatever clients and the model send."""

from __future__ import annotations

# OpenTelemetry's name for every other value.
OTHER = "_OTHER"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def method_label(method: str | None) -> str:
    return method if method in _METHODS else OTHER


class BoundedLabel:
    """The first `most` different values of a process; OTHER for all later ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


# The models that answer, by the names that they report, and the kinds of failures of calls to them.
model_label = BoundedLabel(20)
error_label = BoundedLabel(30)
