"""The base class of every view of the API."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from rest_framework import views
from rest_framework.request import Request


class APIView(views.APIView):
    """REST framework's view without what the API does not use: renderers, their negotiation, versions."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)

    @property
    def default_response_headers(self) -> dict[str, str]:
        allowed = _allowed.get(type(self))
        if allowed is None:
            allowed = _allowed[type(self)] = ", ".join(self.allowed_methods)
        return {"Allow": allowed}

    def finalize_response(  # type: ignore[override]
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        response.headers["Allow"] = self.headers["Allow"]
        return response


_allowed: dict[type, str] = {}
