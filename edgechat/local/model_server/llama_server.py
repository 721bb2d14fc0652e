"""llama.cpp's own HTTP server, in this process, and the few calls of it that the model needs.

The calls use loopback and not its Python methods: closing the connection aborts a generation, and no call blocks a
thread of this process. Source: llama.cpp tools/server/README.md.
"""

import importlib
import json
import os
import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BATCH_TOKENS = 256
# Stands between texts in one call. No token has this number.
SEPARATOR = -1


class LlamaError(Exception):
    """llama.cpp refused or aborted a call. The text is its own."""


class LlamaServer:
    """A loaded model that generates for several callers at the same time."""

    def __init__(self, gguf: Path, *, slots: int, slot_tokens: int, threads: int | None = None) -> None:
        """Load the model. Takes seconds and holds the interpreter's lock. By default it uses eight cores at most.

        Raises ImportError without xllamacpp, and LlamaError for a file that it cannot load.
        """
        xllamacpp: Any = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_parallel = slots
        params.n_ctx = slots * slot_tokens
        params.fit_params = False
        # An aborted call, and every other call, waits for the current batch: about a second of reading a prompt.
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or min(8, os.cpu_count() or 1)
        params.cache_ram_mib = 0
        params.verbosity = -1
        params.ui = False
        params.port = 0
        # The key protects the port from other users of this machine and from pages in a browser.
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as fault:
            raise LlamaError(str(fault)) from fault
        self._address = urlsplit(self._server.listening_address).netloc

    def tokenize(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """The tokens of each text.

        They are ordinary ones, even if the text looks like a special one. With `special` the texts are the parts of a
        template: such texts become special tokens, and the first part gets the model's mark of a beginning, if it has
        one.
        """
        mixed = [each for text in texts for each in (SEPARATOR, text)]
        payload = {"content": mixed, "add_special": False, "parse_special": special}
        with self._post("/tokenize", payload) as answer:
            tokens: list[list[int]] = []
            for token in json.load(answer)["tokens"]:
                if token == SEPARATOR:
                    tokens.append([])
                else:
                    tokens[-1].append(int(token))
        if special:
            with self._post("/tokenize", {"content": texts[0], "add_special": True, "parse_special": True}) as answer:
                tokens[0] = [int(token) for token in json.load(answer)["tokens"]]
        return tokens

    def apply_template(self, messages: Sequence[tuple[str, str]]) -> str:
        """The roles and texts in the model's chat template, with the start of the answer, which is not to think."""
        payload = {
            "messages": [{"role": role, "content": text} for role, text in messages],
            "chat_template_kwargs": {"enable_thinking": False},
        }
        with self._post("/apply-template", payload) as answer:
            return str(json.load(answer)["prompt"])

    def detokenize(self, tokens: Sequence[int]) -> str:
        with self._post("/detokenize", {"tokens": list(tokens)}) as answer:
            return str(json.load(answer)["content"])

    def complete(self, options: dict[str, Any]) -> Generator[dict[str, Any]]:
        """The parts of a completion as they are generated. Closing the iterator aborts the generation.

        Each part has `content` and `tokens_predicted`; the last one also has `stop` and `stop_type` (eos, limit, word).
        """
        with self._post("/completion", {**options, "stream": True}) as answer:
            for line in answer:
                name, _, payload = line.strip().partition(b": ")
                if not payload or line.startswith(b":"):
                    continue  # a blank line, or a comment that keeps the connection alive while a prompt is read
                part = json.loads(payload)
                if name == b"error" or "error" in part:
                    raise LlamaError(str(part.get("error", part)))
                yield part

    @contextmanager
    def _post(self, path: str, payload: dict[str, Any]) -> Iterator[HTTPResponse]:
        """The answer, open for reading. Raises LlamaError for any status but 200."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection = HTTPConnection(self._address)
        try:
            connection.request("POST", path, json.dumps(payload), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise LlamaError(answer.read().decode(errors="replace"))
            yield answer
        except (HTTPException, OSError) as fault:
            raise LlamaError("llama.cpp broke off its answer.") from fault
        finally:
            connection.close()
