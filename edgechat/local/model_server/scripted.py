"""The scripted model: it echoes, and on demand it imitates any behaviour of a real model."""

import json
import time
from collections import OrderedDict
from typing import Any

from edgechat.local.model_server.call_record import CallEntry, CallRecord
from edgechat.local.model_server.directives import Directives, parse_directives
from edgechat.local.model_server.gemini_protocol import (
    GeminiError,
    ModelCall,
    ModelCard,
    StreamWriter,
    Usage,
    answer_part,
    error_body,
    new_response_id,
)
from edgechat.local.model_server.http import ClientGone, Cut, Exchange, encode_json
from edgechat.local.model_server.scripted_text import (
    count_prompt_tokens,
    count_text_tokens,
    describe_picture,
    sample_for_schema,
    split_text,
    text_of_length,
)

MAX_KEYS = 10_000
RUBBISH: dict[int, bytes] = {
    1: b"<html>This is not JSON.</html>",
    2: b'{"candidates":"none","usageMetadata":[]}',
    3: b"{}",
}
SAFETY_RATINGS = [{"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}]


class Refused(GeminiError):
    """A requested fault: the call never reached the model."""


class ScriptedModel:
    """Answers every call by its directives (see `directives.Directives`)."""

    mode = "scripted"
    card = ModelCard(
        name="local-scripted",
        display_name="Scripted answers (local)",
        description="No model: echoes the last user text, or does what its [[directives]] say.",
        input_token_limit=1_048_576,
        output_token_limit=65_536,
    )

    def __init__(self) -> None:
        self._record = CallRecord()
        self._failures: OrderedDict[str, int] = OrderedDict()

    def count_tokens(self, call: ModelCall) -> int:
        return count_prompt_tokens(call)

    def handle_own_route(self, exchange: Exchange) -> bool:
        request = exchange.request
        route = (request.method, request.path)
        if route == ("GET", "/scripted/calls"):
            exchange.respond_json(200, {"calls": self._record.find(request.query.get("contains", ""))})
        elif route == ("DELETE", "/scripted/calls"):
            self._record.clear()
            exchange.respond(204, b"")
        elif route == ("GET", "/scripted/totals"):
            exchange.respond_json(200, self._record.totals())
        else:
            return False
        return True

    def generate(self, call: ModelCall, exchange: Exchange) -> None:
        entry = self._record.start(exchange.request, call, count_prompt_tokens(call))
        outcome, billed = "error", False
        try:
            directives, text = parse_directives(call.last_user_turn.text)
            billed = True
            ScriptedAnswer(
                model=self, call=call, exchange=exchange, entry=entry, directives=directives, text=text
            ).send()
            outcome = "complete"
        except ClientGone:
            outcome = "client_gone"
            raise
        except Cut:
            outcome = "cut"
            raise
        except GeminiError:
            billed = False
            raise
        finally:
            self._record.end(entry, outcome, time.time(), billed=billed)

    def refuse_if_asked(self, directives: Directives) -> None:
        """Raises Refused for [[status]], and for the first calls of a key with [[fail_first]]."""
        status = directives.status
        if directives.fail_first:
            key = str(directives.key)
            failed = self._failures.get(key, 0)
            if failed >= directives.fail_first:
                return
            self._failures[key] = failed + 1
            self._failures.move_to_end(key)
            if len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)
            status = status or 503
        if status is not None:
            headers = {} if directives.retry_after is None else {"Retry-After": directives.retry_after}
            details = fault_details(status, directives.retry)
            if directives.details is not None:
                details = json.loads(directives.details)
            raise Refused(status, fault_message(status), details, headers)


class ScriptedAnswer:
    """One answer in progress."""

    def __init__(
        self,
        *,
        model: ScriptedModel,
        call: ModelCall,
        exchange: Exchange,
        entry: CallEntry,
        directives: Directives,
        text: str,
    ) -> None:
        self._model = model
        self._call = call
        self._exchange = exchange
        self._entry = entry
        self._directives = directives
        self._response_id = new_response_id()
        self._text, self._finish_reason = self._compose(text)
        self._pieces = split_text(self._text, directives.chunks if call.streaming else 1)

    def send(self) -> None:
        """Send the answer. Raises Refused and Cut; is cancelled when the client disconnects."""
        asked = self._directives
        if asked.delay:
            time.sleep(asked.delay)
        self._model.refuse_if_asked(asked)
        if asked.hang is not None:
            time.sleep(asked.hang)
            self._exchange.cut(reset=False)
        if asked.rubbish:
            self._send_raw(RUBBISH[asked.rubbish])
        elif asked.raw is not None:
            self._send_raw(*asked.raw.encode().splitlines())
        elif asked.block == "prompt":
            self._send_raw(encode_json(self._blocked_prompt()))
        elif self._call.streaming:
            self._stream()
        else:
            self._send_at_once()

    def _compose(self, text: str) -> tuple[str, str]:
        """The answer's text, within maxOutputTokens, and its finish reason."""
        asked, finish_reason = self._directives, "STOP"
        if asked.empty or asked.block in ("prompt", "answer"):
            answer = ""
        elif asked.say is not None:
            answer = asked.say
        elif asked.length is not None:
            answer = text_of_length(asked.length)
        elif self._call.config.json_schema is not None:
            answer = encode_json(sample_for_schema(self._call.config.json_schema)).decode()
        else:
            answer = f"Echo: {text}" + "".join(map(describe_picture, self._call.last_user_turn.pictures))
        limit = self._call.config.max_output_tokens
        if limit is not None and count_text_tokens(len(answer)) > limit:
            answer, finish_reason = answer[: 4 * limit], "MAX_TOKENS"
        if asked.block in ("answer", "partial"):
            finish_reason = "SAFETY"
        return answer, asked.finish or finish_reason

    def _part(self, text: str, characters: int, *, last: bool) -> dict[str, Any]:
        """The response with this piece of text. `characters` counts those sent so far, including this piece."""
        asked = self._directives
        self._entry.thoughts_tokens = asked.thoughts
        usage = Usage(
            self._entry.prompt_tokens, count_text_tokens(characters), asked.thoughts, asked.cached, asked.tools
        )
        part = answer_part(
            text=text if self._text else None,
            finish_reason=self._finish_reason if last else None,
            usage=None if asked.nousage else usage,
            model_version=self._model.card.name if asked.version is None else asked.version,
            response_id=self._response_id,
        )
        if asked.continuation is not None:
            part["candidates"][0]["continuationToken"] = asked.continuation
        if last and asked.block in ("answer", "partial"):
            part["candidates"][0]["safetyRatings"] = SAFETY_RATINGS
        return part

    def _stream(self) -> None:
        asked = self._directives
        writer = StreamWriter(self._exchange, self._call.sse)
        writer.open()
        began = time.monotonic()
        characters = 0
        for index, piece in enumerate(self._pieces):
            self._cut_if_due(index)
            if asked.error is not None and index == min(asked.error_at, len(self._pieces) - 1):
                writer.send_raw(error_body(asked.error, fault_message(asked.error)))
                writer.end()
                return
            if index and asked.gap:
                # Waits for a point of the schedule, not for an interval, so delays do not add up.
                time.sleep(max(0.0, began + index * asked.gap - time.monotonic()))
            characters += len(piece)
            part = self._part(piece, characters, last=index == len(self._pieces) - 1)
            if asked.counted is not None and index >= asked.counted:
                part.pop("usageMetadata", None)
            self._entry.note_chunk(time.time(), count_text_tokens(characters))
            writer.send(part)
        if asked.tail is not None:
            writer.send_line(asked.tail.encode())
        self._cut_if_due(len(self._pieces))
        time.sleep(asked.linger)
        writer.end()

    def _cut_if_due(self, chunks_sent: int) -> None:
        if self._directives.cut is not None and (
            chunks_sent == self._directives.cut or (chunks_sent == len(self._pieces) <= self._directives.cut)
        ):
            self._cut()

    def _cut(self) -> None:
        self._exchange.cut(reset=self._directives.cut_by == "reset")

    def _send_at_once(self) -> None:
        body = encode_json(self._part(self._text, len(self._text), last=True))
        if self._directives.cut is None:
            self._entry.note_chunk(time.time(), count_text_tokens(len(self._text)))
            self._exchange.respond(200, body)
            return
        self._exchange.begin(200, "application/json; charset=UTF-8", length=len(body))
        if self._directives.cut:
            self._entry.note_chunk(time.time(), count_text_tokens(len(self._text)))
            self._exchange.write(body[: len(body) // 2])
        self._cut()

    def _send_raw(self, *bodies: bytes) -> None:
        self._entry.note_chunk(time.time(), 0)
        if self._call.streaming:
            writer = StreamWriter(self._exchange, self._call.sse)
            for index, body in enumerate(bodies):
                if index:
                    time.sleep(self._directives.gap)
                writer.send_raw(body)
            writer.end()
        else:
            self._exchange.respond(200, bodies[0])

    def _blocked_prompt(self) -> dict[str, Any]:
        blocked: dict[str, Any] = {
            "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": SAFETY_RATINGS},
            "modelVersion": self._model.card.name,
            "responseId": self._response_id,
        }
        if not self._directives.nousage:
            blocked["usageMetadata"] = Usage(self._entry.prompt_tokens).to_json()
        return blocked


def fault_message(status: int) -> str:
    messages = {
        400: "Request contains an invalid argument.",
        401: "Request had invalid authentication credentials.",
        403: "Permission denied on resource project.",
        404: "The model is not found for API version v1beta, or is not supported for generateContent.",
        429: "You exceeded your current quota, please check your plan and billing details.",
        500: "An internal error has occurred. Please retry.",
        503: "The model is overloaded. Please try again later.",
        504: "The request timed out. Please try again.",
    }
    return messages.get(status, f"The script asked for status {status}.")


def fault_details(status: int, retry: int | None) -> list[dict[str, Any]]:
    """google.rpc.QuotaFailure for 429, and RetryInfo if the directives ask for a delay in seconds."""
    details: list[dict[str, Any]] = []
    if status == 429:
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaValue": "10",
        }
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
    if retry is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry}s"})
    return details
