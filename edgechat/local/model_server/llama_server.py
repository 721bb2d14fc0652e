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


class LlamaError(Exception):
    """llama.cpp refused or aborted a call. The text is its own."""


class LlamaServer:
    """A loaded model that generates for several callers at the same time."""

    def __init__(self, gguf: Path, *, slots: int, slot_tokens: int) -> None:
        """Load the model. Takes seconds and holds the interpreter's lock. Raises ImportError without xllamacpp."""
        xllamacpp: Any = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_parallel = slots
        params.n_ctx = slots * slot_tokens
        params.fit_params = False
        # An aborted call, and every other call, waits for the current batch: about a second of reading a prompt.
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(8, os.cpu_count() or 1)
        params.cache_ram_mib = 0
        params.verbosity = -1
        params.ui = False
        params.port = 0
        # The key protects the port from other users of this machine and from pages in a browser.
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        self._server = xllamacpp.Server(params)
        self._address = urlsplit(self._server.listening_address).netloc

    def tokenize(self, mixed: Sequence[int | str]) -> list[int]:
        """Texts become ordinary tokens, even if they look like special ones; numbers are used as tokens."""
        with self._post("/tokenize", {"content": list(mixed), "add_special": False, "parse_special": False}) as answer:
            return [int(token) for token in json.load(answer)["tokens"]]

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
