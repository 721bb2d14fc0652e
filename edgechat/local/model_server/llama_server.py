"""llama.cpp's own HTTP server, in this process, and the few calls of it that we need.

It is called over loopback and not by its Python methods: closing the connection is what aborts a generation, and
nothing of it blocks a thread of ours. Source: llama.cpp tools/server/README.md.
"""

import asyncio
import contextlib
import importlib
import json
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MAX_LINE_BYTES = 64 * 1024 * 1024
BATCH_TOKENS = 256


class LlamaError(Exception):
    """llama.cpp refused or broke off a call; the text is its own."""


class LlamaServer:
    """A loaded model that generates for several callers at once."""

    def __init__(self, gguf: Path, *, slots: int, slot_tokens: int) -> None:
        """Loads the model: takes seconds, and holds the interpreter's lock. Raises ImportError without xllamacpp."""
        xllamacpp: Any = importlib.import_module("xllamacpp")
        params = xllamacpp.CommonParams()
        params.model.path = str(gguf)
        params.n_parallel = slots
        params.n_ctx = slots * slot_tokens
        params.fit_params = False
        # A batch is what an aborted call, and every other call, waits for: about a second of reading a prompt.
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(8, os.cpu_count() or 1)
        params.cache_ram_mib = 0
        params.verbosity = -1
        params.ui = False
        params.port = 0
        # Other users of this machine, and pages in a browser, can reach the port.
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        self._server = xllamacpp.Server(params)
        address = urlsplit(self._server.listening_address)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 0

    async def tokenize(self, mixed: Sequence[int | str]) -> list[int]:
        """Texts become tokens, whatever they look like; numbers are taken as tokens."""
        request = {"content": list(mixed), "add_special": False, "parse_special": False}
        async with self._post("/tokenize", request) as reader:
            answer = json.loads(b"".join([part async for part in reader]))
        return [int(token) for token in answer["tokens"]]

    async def detokenize(self, tokens: Sequence[int]) -> str:
        async with self._post("/detokenize", {"tokens": list(tokens)}) as reader:
            return str(json.loads(b"".join([part async for part in reader]))["content"])

    async def complete(self, options: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The parts of a completion as they are generated; closing the iterator aborts the generation.

        Each has `content` and `tokens_predicted`, and the last one `stop` and `stop_type` (eos, limit, word).
        """
        async with self._post("/completion", {**options, "stream": True}) as reader:
            pending = b""
            async for data in reader:
                *events, pending = (pending + data).split(b"\n\n")
                for event in events:
                    if event.startswith(b":"):
                        continue  # a comment that keeps the connection alive while a long prompt is read
                    name, _, payload = event.partition(b": ")
                    part = json.loads(payload)
                    if name == b"error" or "error" in part:
                        raise LlamaError(str(part.get("error", part)))
                    yield part

    @asynccontextmanager
    async def _post(self, path: str, payload: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's body in parts. Raises LlamaError for any status but 200."""
        body = json.dumps(payload).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {self._key}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=MAX_LINE_BYTES)
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            answer_head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            parts = read_body(reader, answer_head.lower())
            if answer_head.split(" ")[1] != "200":
                raise LlamaError((b"".join([part async for part in parts])).decode(errors="replace"))
            yield parts
        except (asyncio.IncompleteReadError, OSError) as fault:
            raise LlamaError("llama.cpp broke off its answer.") from fault
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def read_body(reader: asyncio.StreamReader, head: str) -> AsyncIterator[bytes]:
    if "transfer-encoding: chunked" not in head:
        length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
        yield await reader.readexactly(int(length.partition(":")[2]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
