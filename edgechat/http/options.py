"""OPTIONS: the methods that a path accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views import View


class OptionsMiddleware:
    """Answers OPTIONS with `Allow` for every caller: the OpenAPI file publishes the same facts.

    REST framework would require a token. CorsMiddleware answers preflights earlier; the admin's pages are functions and
    answer OPTIONS themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        if request.method != "OPTIONS" or not hasattr(function, "view_class"):
            return None
        view = function.view_class(**function.view_initkwargs)
        view.setup(request, *args, **kwargs)
        return View.options(view, request)
