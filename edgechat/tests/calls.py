"""The calls of the API, from the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLResolver, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")


def calls(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(method, path, view class) of each call below /api/v1/; a parameter in the path is `{name}`."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from calls(entry.url_patterns, path)
        elif path.startswith("api/v1/"):
            view = getattr(entry.callback, "view_class", None)
            named = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path.removeprefix("api/v1/"))
            yield from ((method.upper(), named, view) for method in METHODS if hasattr(view, method))
