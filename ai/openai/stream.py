"""The stream of a chat completion: events without names, each with a chunk, and `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.open_calls.registry import HungUp
from ai.calls.responses import Piece, Writer
from ai.openai.serializers import ChatChunkOutput, ChatDeltaOutput, usage_body
from ai.openai.services import REFUSAL, ChatAnswer
from edgechat.errors import ApiError, openai_error_body
from edgechat.http.answer_bytes import encode_json
from edgechat.http.event_stream import PING


def write_chunks(answer: ChatAnswer, writer: Writer, pieces: list[Piece], *, with_usage: bool) -> Iterator[bytes]:
    """The chunks; an error after the first one is an event too, and then `[DONE]` does not come."""
    return _Chunks(answer, with_usage=with_usage).events(writer, pieces)


class _Chunks:
    def __init__(self, answer: ChatAnswer, *, with_usage: bool) -> None:
        self._answer = answer
        self._with_usage = with_usage
        self._begun = False
        self._calls_sent = 0

    def events(self, writer: Writer, pieces: list[Piece]) -> Iterator[bytes]:
        answer = self._answer
        try:
            for batch in writer.batches(pieces):
                if delta := self._delta(batch):
                    yield self._chunk(delta)
                if not batch:
                    yield PING
            last = ChatDeltaOutput(refusal=REFUSAL) if answer.finish_reason == "content_filter" else ChatDeltaOutput()
            yield self._chunk(last, finish_reason=answer.finish_reason)
            if self._with_usage:
                yield _event(self._body() | {"choices": [], "usage": usage_body(answer.completion.usage)})
            yield b"data: [DONE]\n\n"
        except HungUp:
            return
        except ApiError as error:
            yield b"data: %s\n\n" % encode_json(openai_error_body(error))

    def _delta(self, pieces: list[Piece]) -> ChatDeltaOutput:
        """What these pieces add. The role comes with the first piece, also if that is the end."""
        delta = ChatDeltaOutput()
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        calls = self._answer.tool_calls[self._calls_sent :]
        if pieces and not self._begun:
            self._begun = True
            delta["role"] = "assistant"
            delta["content"] = None if calls and not text else text
        elif text:
            delta["content"] = text
        if calls:
            delta["tool_calls"] = [{**call, "index": index} for index, call in enumerate(calls, self._calls_sent)]
            self._calls_sent += len(calls)
        return delta

    def _chunk(self, delta: ChatDeltaOutput, *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _event(self._body() | {"choices": [choice]})

    def _body(self) -> ChatChunkOutput:
        answer = self._answer
        body = ChatChunkOutput(
            id=answer.id, object="chat.completion.chunk", created=answer.created, model=answer.model, choices=[]
        )
        if self._with_usage:
            body["usage"] = None
        return body


def _event(body: object) -> bytes:
    return b"data: %s\n\n" % encode_json(body)
