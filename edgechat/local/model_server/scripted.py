"""The scripted model: it echoes, and on demand it imitates any behaviour of a real model."""

import base64
import json
import time
from collections import OrderedDict
from dataclasses import dataclass
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
from edgechat.local.model_server.http import JSON_TYPE, ClientGone, Cut, Responder, encode_json
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

    def handle_own_route(self, responder: Responder) -> bool:
        request = responder.request
        route = (request.method, request.path)
        if route == ("GET", "/scripted/calls"):
            responder.respond_json(200, {"calls": self._record.find(request.query.get("contains", ""))})
        elif route == ("DELETE", "/scripted/calls"):
            self._record.clear()
            responder.respond(204, b"")
        elif route == ("GET", "/scripted/totals"):
            responder.respond_json(200, self._record.totals())
        else:
            return False
        return True

    def generate(self, call: ModelCall, responder: Responder) -> None:
        entry = self._record.start(responder.request, call, count_prompt_tokens(call))
        outcome, billed = "error", False
        try:
            directives, text = parse_directives(call.last_user_content.text)
            billed = True
            ScriptedAnswer(self, call, responder, entry, directives, text).send()
            outcome = "complete"
        except (ClientGone, OSError):  # a write can fail before the server has looked at the connection
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

    def refuse_if_directed(self, directives: Directives) -> None:
        """Raises GeminiError for [[status]], and for the first calls of a key with [[fail_first]]."""
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
            raise GeminiError(status, fault_message(status), details, headers)


@dataclass
class ScriptedAnswer:
    """One answer in progress."""

    model: ScriptedModel
    call: ModelCall
    responder: Responder
    entry: CallEntry
    script: Directives
    text: str  # the user's text; from then on the answer's

    def __post_init__(self) -> None:
        self.response_id = new_response_id()
        self.text, self.finish_reason = self._compose()
        self.pieces = split_text(self.text, self.script.chunks if self.call.streaming else 1)

    def send(self) -> None:
        """Send the answer. Raises GeminiError and Cut; is cancelled when the client disconnects."""
        script = self.script
        time.sleep(script.delay)
        self.model.refuse_if_directed(script)
        if script.hang is not None:
            time.sleep(script.hang)
            self.responder.cut(reset=False)
        if script.rubbish:
            self._send_raw(RUBBISH[script.rubbish])
        elif script.raw is not None:
            self._send_raw(*script.raw.encode().splitlines())
        elif script.block == "prompt":
            self._send_raw(encode_json(self._blocked_prompt()))
        elif self.call.streaming:
            self._stream()
        else:
            self._send_whole()

    def _compose(self) -> tuple[str, str]:
        """The answer's text, before a stop sequence and within maxOutputTokens, and its finish reason."""
        script, config, finish_reason = self.script, self.call.config, "STOP"
        if script.empty or script.block in ("prompt", "answer") or (script.call and script.say is None):
            answer = ""
        elif script.say is not None:
            answer = script.say
        elif script.length is not None:
            answer = text_of_length(script.length)
        elif config.json_schema is not None:
            answer = encode_json(sample_for_schema(config.json_schema)).decode()
        else:
            answer = f"Echo: {self.text}" + "".join(map(describe_picture, self.call.last_user_content.pictures))
        ends = [answer.index(stop) for stop in config.stop_sequences if stop in answer]
        answer = answer[: min(ends, default=None)]
        limit = config.max_output_tokens
        if limit is not None and count_text_tokens(len(answer)) > limit:
            answer, finish_reason = answer[: 4 * limit], "MAX_TOKENS"
        if script.block in ("answer", "partial"):
            finish_reason = "SAFETY"
        return answer, script.finish or finish_reason

    def _part(self, text: str, characters: int, *, last: bool) -> dict[str, Any]:
        """The response with this piece of text. `characters` counts those sent so far, including this piece."""
        script = self.script
        self.entry.thoughts_tokens = script.thoughts
        output_tokens = count_text_tokens(characters)
        usage = Usage(self.entry.prompt_tokens, output_tokens, script.thoughts, script.cached, script.tools)
        part = answer_part(
            text=text if self.text else None,
            finish_reason=self.finish_reason if last else None,
            usage=None if script.nousage else usage,
            model_version=self.model.card.name if script.version is None else script.version,
            response_id=self.response_id,
        )
        if last and script.call is not None:
            part["candidates"][0]["content"].setdefault("parts", []).extend(call_parts(script.call))
        if script.continuation is not None:
            part["candidates"][0]["continuationToken"] = script.continuation
        if last and script.block in ("answer", "partial"):
            part["candidates"][0]["safetyRatings"] = SAFETY_RATINGS
        return part

    def _stream(self) -> None:
        script = self.script
        writer = StreamWriter(self.responder, self.call.sse)
        writer.open()
        began = time.monotonic()
        characters = 0
        for index, piece in enumerate(self.pieces):
            self._cut_if_due(index)
            last = index == len(self.pieces) - 1
            if script.error is not None and (index == script.error_at or last):
                writer.send_raw(error_body(script.error, fault_message(script.error)))
                writer.end()
                return
            if index and script.gap:
                # Waits for a point of the schedule, not for an interval, so delays do not add up.
                time.sleep(max(0.0, began + index * script.gap - time.monotonic()))
            characters += len(piece)
            part = self._part(piece, characters, last=last)
            if script.counted is not None and index >= script.counted:
                part.pop("usageMetadata", None)
            self.entry.note_chunk(time.time(), count_text_tokens(characters))
            writer.send(part)
        if script.tail is not None:
            writer.send_line(script.tail.encode())
        self._cut_if_due(len(self.pieces))
        time.sleep(script.linger)
        writer.end()

    def _cut_if_due(self, chunks_sent: int) -> None:
        if self.script.cut is not None and chunks_sent == min(self.script.cut, len(self.pieces)):
            self._cut()

    def _cut(self) -> None:
        self.responder.cut(reset=self.script.cut_by == "reset")

    def _send_whole(self) -> None:
        body = encode_json(self._part(self.text, len(self.text), last=True))
        if self.script.cut != 0:
            self.entry.note_chunk(time.time(), count_text_tokens(len(self.text)))
        if self.script.cut is None:
            self.responder.respond(200, body)
            return
        self.responder.begin(200, JSON_TYPE, length=len(body))
        if self.script.cut:
            self.responder.write(body[: len(body) // 2])
        self._cut()

    def _send_raw(self, *bodies: bytes) -> None:
        self.entry.note_chunk(time.time(), 0)
        if not self.call.streaming:
            self.responder.respond(200, bodies[0])
            return
        writer = StreamWriter(self.responder, self.call.sse)
        for index, body in enumerate(bodies):
            if index:
                time.sleep(self.script.gap)
            writer.send_raw(body)
        writer.end()

    def _blocked_prompt(self) -> dict[str, Any]:
        usage = {} if self.script.nousage else {"usageMetadata": Usage(self.entry.prompt_tokens).to_json()}
        return {
            "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": SAFETY_RATINGS},
            "modelVersion": self.model.card.name,
            "responseId": self.response_id,
            **usage,
        }


def call_parts(text: str) -> list[dict[str, Any]]:
    """The parts of a call directive. The first is signed, like Gemini's."""
    calls = json.loads(text)
    parts: list[dict[str, Any]] = [{"functionCall": call} for call in (calls if isinstance(calls, list) else [calls])]
    signature = f"signature of {parts[0]['functionCall']['name']}"
    parts[0]["thoughtSignature"] = base64.b64encode(signature.encode()).decode()
    return parts


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
    return messages.get(status, f"The directive sets status {status}.")


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
