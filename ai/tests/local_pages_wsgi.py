"""The application that gunicorn serves, with the fetcher of `ai.tests.local_pages`."""

from __future__ import annotations

import os

from ai.fetch_url import Fetcher
from ai.summarize import queries
from edgechat.wsgi import application

__all__ = ["application"]

queries.fetch_page = Fetcher(  # type: ignore[attr-defined]
    resolve=lambda *_: ["127.0.0.1"],
    is_allowed=lambda _: True,
    ports=frozenset({int(os.environ["LOCAL_PAGES_PORT"])}),
    max_seconds=float(os.environ["LOCAL_PAGES_SECONDS"]),
).fetch
