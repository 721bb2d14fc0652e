"""The work of the reading process: a file of any of the sources as frames, with little memory."""

from __future__ import annotations

import re
import resource
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import msgspec

from conversations.imports.reading import chatgpt, claude, edgechat
from conversations.imports.reading.frames import PIECE_BYTES, Header, LeftOut, Message
from conversations.imports.reading.items import BrokenFile, Refused, accept_long_numbers, read_items
from conversations.imports.reading.values import Conversation, NotImported, Turn, mapping, words

SOURCES = {"chatgpt": chatgpt, "claude": claude, "edgechat": edgechat}
MAX_ENTRIES = 100_000
# Of a .zip: its conversation files, and their bytes together once they are unpacked.
MAX_ZIPPED_FILES, MAX_UNPACKED_BYTES = 1000, 2 * 1024**3
_ZIPPED = re.compile(r"(.*/)?conversations(-\d+)?\.json")
_BEGINS_WITH_AN_ANSWER = "[The conversation begins with an answer]"
Frame = tuple[dict[str, Any], bytes]


def prepare() -> None:
    pass


def stream(arguments: dict[str, Any], file: IO[bytes]) -> Iterator[Frame]:
    """Frames of `kind` `header`, `messages`, `left_out`, at the end `broken` or `end`.

    `arguments` are `source` (a key of SOURCES, or None to tell each conversation by its fields) and the most characters
    of a `title`, an `instruction`, a `question` and the most bytes of an `answer`.
    """
    accept_long_numbers()
    source, entries = arguments["source"], 0
    try:
        for part in _files(file):
            for entry in read_items(part):
                entries += 1
                if entries > MAX_ENTRIES:
                    raise BrokenFile("too_many_entries")
                yield from _frames(entry, source, arguments)
    except (BrokenFile, MemoryError) as error:
        reason = str(error) if isinstance(error, BrokenFile) else "too_much_memory"
        yield {"kind": "broken", "reason": reason}, b""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield {"kind": "end", "peak_kib": peak}, b""


def _files(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file, or the conversation files in a .zip, after a byte order mark. Raises BrokenFile."""
    if file.read(2) != b"PK":
        file.seek(0)
        _skip_mark(file)
        yield file
        return
    try:
        with zipfile.ZipFile(file) as archive:
            found = [info for info in archive.infolist() if _ZIPPED.fullmatch(info.filename)]
            if not found:
                raise BrokenFile("nothing_zipped")
            if len(found) > MAX_ZIPPED_FILES or sum(info.file_size for info in found) > MAX_UNPACKED_BYTES:
                raise BrokenFile("too_much_unpacked")
            for info in sorted(found, key=lambda info: info.filename):
                with archive.open(info) as part:
                    _skip_mark(part)
                    yield part
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise BrokenFile("not_zip") from error


def _skip_mark(file: IO[bytes]) -> None:
    """Skip a byte order mark, which is no JSON."""
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)


def _frames(entry: Any, source: str | None, limits: dict[str, Any]) -> Iterator[Frame]:
    title = words(mapping(entry).get("title") or mapping(entry).get("name"))[: limits["title"]] or None
    conversation: Conversation | None = None
    try:
        if isinstance(entry, Refused):
            raise NotImported(str(entry))
        name = source or next((name for name, each in SOURCES.items() if each.reads(mapping(entry))), None)
        if name is None or not SOURCES[name].reads(mapping(entry)):
            raise NotImported("not_a_conversation")
        conversation = SOURCES[name].read(entry)
        messages = _messages(conversation, limits)
        if not messages:
            raise NotImported("empty")
        pieces = list(_pieces(messages))
        header = _header(name, conversation, len(messages), len(pieces), limits)
    except NotImported as error:
        notes = dict(conversation.notes) if conversation else {}
        yield {"kind": "left_out"}, msgspec.json.encode(LeftOut(title, str(error), notes))
        return
    yield {"kind": "header"}, msgspec.json.encode(header)
    for piece in pieces:
        yield {"kind": "messages"}, piece


def _header(name: str, read: Conversation, messages: int, pieces: int, limits: dict[str, Any]) -> Header:
    instruction = "\n\n".join(dict.fromkeys(read.system))
    if len(instruction) > limits["instruction"]:
        read.notes["instruction_cut"] += 1
    title = " ".join((read.title or "").split())
    times = [turn.at for turn in read.turns if turn.at is not None]
    return Header(
        source=name,  # type: ignore[arg-type]
        source_id=read.source_id,
        owner=read.owner,
        title=title[: limits["title"]].strip() or None,
        system_instruction=instruction[: limits["instruction"]] or None,
        pinned=read.pinned,
        archived=read.archived,
        created_at=read.created_at or min(times, default=read.updated_at),
        updated_at=read.updated_at or max(times, default=read.created_at),
        messages=messages,
        pieces=pieces,
        notes={note: count for note, count in read.notes.items() if count},
    )


def _messages(conversation: Conversation, limits: dict[str, Any]) -> list[Message]:
    """The messages as pairs of a question and its answer, as in every conversation here.

    A question without an answer gets an empty, interrupted one. Several answers to one question become one.
    """
    turns: list[tuple[Turn, list[str]]] = []
    for turn in conversation.turns:
        expected = "user" if len(turns) % 2 == 0 else "model"
        if turn.role == "model" and expected == "user" and turns:
            last, texts = turns[-1]
            texts.append(turn.text)
            last.status, last.finish_reason = turn.status, turn.finish_reason
            continue
        if turn.role != expected and turns:
            turns.append((_no_answer(turns[-1][0]), []))
        elif turn.role != expected:
            turns.append((Turn("user", "", turn.at), [_BEGINS_WITH_AN_ANSWER]))
        turns.append((turn, [turn.text]))
    if len(turns) % 2:
        turns.append((_no_answer(turns[-1][0]), []))
    return [_message(turn, texts, conversation, limits) for turn, texts in turns]


def _no_answer(question: Turn) -> Turn:
    return Turn("model", "", question.at, "interrupted", None)


def _message(turn: Turn, texts: list[str], conversation: Conversation, limits: dict[str, Any]) -> Message:
    whole = "\n\n".join(texts)
    if turn.role == "user":
        content = whole[: limits["question"]]
    else:
        content = whole[: limits["answer"]]
        if not content.isascii():
            content = content.encode()[: limits["answer"]].decode(errors="ignore")
    if len(content) < len(whole):
        conversation.notes["cut"] += 1
        if turn.role == "model":
            turn.finish_reason = "MAX_TOKENS"
    reason = turn.finish_reason if turn.role == "model" else None
    return Message(content, turn.at, turn.status, reason)  # type: ignore[arg-type]


def _pieces(messages: Iterable[Message]) -> Iterator[bytes]:
    """The messages as lists in JSON of about PIECE_BYTES."""
    piece: list[bytes] = []
    size = 0
    for message in messages:
        encoded = msgspec.json.encode(message)
        if piece and size + len(encoded) > PIECE_BYTES:
            yield b"[" + b",".join(piece) + b"]"
            piece, size = [], 0
        piece.append(encoded)
        size += len(encoded)
    yield b"[" + b",".join(piece) + b"]"
