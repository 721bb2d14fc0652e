"""The routes, in front of either model: finds the operation, parses it, and turns faults into Gemini's shape."""

from typing import Protocol

from edgechat.local.model_server.gemini_protocol import (
    MODEL_PATH,
    GeminiError,
    ModelCall,
    ModelCard,
    parse_call,
)
from edgechat.local.model_server.http import Exchange


class Model(Protocol):
    """What answers: the scripted model or the real one."""

    card: ModelCard
    mode: str

    async def generate(self, call: ModelCall, exchange: Exchange) -> None:
        """Answers the exchange. Raises GeminiError only before anything was sent."""

    async def count_tokens(self, call: ModelCall) -> int: ...

    async def handle_own_route(self, exchange: Exchange) -> bool:
        """Answers a route that only this model has; False leaves the exchange untouched."""


class Service:
    """The handler that is given to the HTTP server."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def handle(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)
        except GeminiError as fault:
            if exchange.started:
                raise
            await exchange.respond(fault.code, fault.body())

    async def _route(self, exchange: Exchange) -> None:
        request = exchange.request
        matched = MODEL_PATH.match(request.path)
        if matched is None:
            if request.path == "/health" and request.method in ("GET", "HEAD"):
                health = {"status": "ok", "mode": self._model.mode, "model": self._model.card.name}
                await exchange.respond_json(200, health)
            elif not await self._model.handle_own_route(exchange):
                raise GeminiError(404, f"There is no {request.method} {request.path} here.")
            return
        name, action = matched["model"], matched["action"]
        if action is None:
            if request.method != "GET":
                raise GeminiError(405, f"{request.method} is not allowed on {request.path}.")
            card = self._model.card.to_json()
            await exchange.respond_json(200, card if name else {"models": [card]})
            return
        if action not in ("generateContent", "streamGenerateContent", "countTokens"):
            raise GeminiError(404, f"The local model has no method {action}.")
        if request.method != "POST":
            raise GeminiError(405, f"{request.method} is not allowed on {request.path}.")
        call = parse_call(name, action, request.query.get("alt") == "sse", request.body)
        if action == "countTokens":
            await exchange.respond_json(200, {"totalTokens": await self._model.count_tokens(call)})
        else:
            await self._model.generate(call, exchange)
