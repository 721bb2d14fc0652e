"""Makes the OpenAPI file. Only commands and tests import this: it takes a second, and imports Django's test client."""

from __future__ import annotations

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer


def make_document() -> bytes:
    """The OpenAPI file, in JSON."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(schema)
    return rendered
