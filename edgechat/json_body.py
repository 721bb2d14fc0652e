"""JSON in, JSON out: the parser and the content negotiation of every REST view."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from django.core.exceptions import RequestDataTooBig
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from edgechat.errors import MalformedJSON


class JSONBodyParser(BaseParser):
    """UTF-8 JSON. MalformedJSON for everything that is not, infinities and too deep nesting included."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            text = stream.read().decode("utf-8")
            return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
        except RequestDataTooBig:
            raise
        except (ValueError, RecursionError, OSError) as error:
            raise MalformedJSON from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large for a number")
    return number


class AlwaysJSON(BaseContentNegotiation):
    """Answers JSON whatever `Accept` says: views that stream look at the header themselves, and nothing is a 406."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        content_type = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = renderers[0]
        return renderer, renderer.media_type
