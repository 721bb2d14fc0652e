"""Streams for a client that openapi-python-client generates from the OpenAPI file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from edgechat_api.client import AuthenticatedClient
from edgechat_api.models import Error
from httpx_sse import EventSource

E = TypeVar("E")


class CallFailed(Exception):
    """A call that was answered with an error before its first event."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.detail)
        self.error = error


def events(
    client: AuthenticatedClient, call: dict[str, Any], kinds: Mapping[str, Callable[[dict[str, Any]], E]]
) -> Iterator[E]:
    """The events of a generated call that streams. `call` is its `_get_kwargs(…)`, `kinds` the class of each event."""
    with client.get_httpx_client().stream(**call) as response:
        if response.is_error:
            response.read()
            raise CallFailed(Error.from_dict(response.json()))
        if response.status_code == 204:  # the last event was already seen
            return
        for each in EventSource(response).iter_sse():
            if each.data and each.event in kinds:
                yield kinds[each.event]({"event": each.event, "id": each.id, "data": each.json()})
