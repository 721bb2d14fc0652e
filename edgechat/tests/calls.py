"""The routes of the URLconf, and the calls of the API among them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLResolver, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")
API = "api/v1/"


def routes(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, view class or None) of each route; a parameter in the path is `{name}`."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        else:
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), getattr(entry.callback, "view_class", None)


def api_routes() -> Iterator[tuple[str, Any]]:
    """(path, view class) of each route below /api/v1/."""
    return ((path.removeprefix(API), view) for path, view in routes() if path.startswith(API))


def calls() -> Iterator[tuple[str, str, Any]]:
    """(method, path, view class) of each call below /api/v1/."""
    return ((method.upper(), path, view) for path, view in api_routes() for method in METHODS if hasattr(view, method))
