"""The routes, shared by both models: finds the operation, parses it, and turns faults into Gemini's shape."""

import secrets
from typing import Protocol

from edgechat.local.model_server.gemini_protocol import (
    ACTIONS,
    MODEL_PATH,
    GeminiError,
    ModelCall,
    ModelCard,
    parse_call,
)
from edgechat.local.model_server.http import Responder


class Model(Protocol):
    """The scripted model or the real one."""

    card: ModelCard
    mode: str

    def generate(self, call: ModelCall, responder: Responder) -> None:
        """Answer the call. Raises GeminiError only before anything was sent."""

    def count_tokens(self, call: ModelCall) -> int: ...

    def handle_own_route(self, responder: Responder) -> bool:
        """Answer a route that only this model has. False sends nothing."""


class Service:
    """The handler of the HTTP server."""

    def __init__(self, model: Model, *, key: str | None) -> None:
        """`key`: the API key that all calls but /health need. None allows every call."""
        self.model = model
        self._key = key

    def handle(self, responder: Responder) -> None:
        try:
            self._route(responder)
        except GeminiError as fault:
            if responder.started:
                raise
            responder.respond(fault.code, fault.body(), headers=fault.headers)

    def _route(self, responder: Responder) -> None:
        request = responder.request
        if request.path == "/health" and request.method in ("GET", "HEAD"):
            health = {"status": "ok", "mode": self.model.mode, "model": self.model.card.name}
            responder.respond_json(200, health)
            return
        # As bytes: a header may contain characters that compare_digest refuses in a text.
        if self._key is not None and not secrets.compare_digest(request.key.encode(), self._key.encode()):
            raise GeminiError(403, "API key not valid. Please pass a valid API key.")
        matched = MODEL_PATH.match(request.path)
        if matched is None:
            if not self.model.handle_own_route(responder):
                raise GeminiError(404, f"There is no {request.method} {request.path} here.")
            return
        name, action = matched["model"], matched["action"]
        if action is None:
            if request.method != "GET":
                raise GeminiError(405, f"{request.method} is not allowed on {request.path}.")
            card = self.model.card.to_json()
            responder.respond_json(200, card if name else {"models": [card]})
            return
        if action not in ACTIONS:
            raise GeminiError(404, f"The local model has no method {action}.")
        if request.method != "POST":
            raise GeminiError(405, f"{request.method} is not allowed on {request.path}.")
        call = parse_call(name, action, request.query.get("alt") == "sse", request.body)
        if action == "countTokens":
            responder.respond_json(200, {"totalTokens": self.model.count_tokens(call)})
        else:
            self.model.generate(call, responder)
