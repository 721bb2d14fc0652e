"""The archive: a gzipped tar file of small parts, which ends with a manifest. It is written and read in one pass.

A part belongs to a section: a table of PostgreSQL, a collection of MongoDB, or the pictures. The manifest has the
count, the bytes and the hash of each section, so its size does not depend on the size of the archive.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

FORMAT = 1
MANIFEST = "manifest.json"
# Rows and documents are collected up to this size. A single one can be larger: a document has up to 16 MB.
PART_BYTES = 4 * 1024 * 1024
# A part is read into memory.
LARGEST_PART = 128 * 1024 * 1024
# A table, a collection or the pictures, and the number of the part, or a picture's id and which of its files it is.
_NAME = re.compile(
    r"(?:postgresql/[a-z0-9_]{1,63}|mongodb/[a-z]{1,40})/[0-9]{8}|pictures/[0-9a-f]{32}\.[a-z]{1,20}", re.ASCII
)
_DAMAGED = (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError)


class BadArchive(Exception):
    """Something that is not a whole, unchanged archive of this format. The text says what is wrong."""


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Part:
    section: str
    name: str
    data: bytes


@dataclass
class Section:
    """What is written to, or read from, a section so far."""

    count: int = 0
    parts: int = 0
    size: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)

    def add(self, name: str, data: bytes, count: int) -> None:
        self.count += count
        self.parts += 1
        self.size += len(data)
        self._hash.update(f"{name} {len(data)}\n".encode())
        self._hash.update(data)

    def summary(self) -> dict[str, Any]:
        return {"count": self.count, "parts": self.parts, "bytes": self.size, "sha256": self._hash.hexdigest()}


class ArchiveWriter:
    """Writes parts to a file that need not be seekable."""

    def __init__(self, file: IO[bytes]) -> None:
        self._gzip = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w|")  # noqa: SIM115  (closed by `finish`)
        self.sections: dict[str, Section] = {}

    def add(self, section: str, data: bytes, *, count: int, name: str | None = None) -> None:
        """Write a part with `count` rows, documents or files. Without a name it gets its number."""
        known = self.sections.setdefault(section, Section())
        name = name or f"{known.parts + 1:08d}"
        self._write(f"{section}/{name}", data)
        known.add(name, data, count)

    def finish(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest, which gets the sections, and the end of the archive. Returns it as it is read."""
        sections = {name: section.summary() for name, section in self.sections.items()}
        text = json.dumps({"format": FORMAT, **manifest, "sections": sections}, indent=1)
        self._write(MANIFEST, text.encode())
        self._tar.close()
        self._gzip.close()
        return dict(json.loads(text))

    def abandon(self) -> None:
        """Write nothing more, also when this object is deleted: the file is closed by then."""
        self._gzip.fileobj = io.BytesIO()

    def _write(self, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), 0o600
        self._tar.addfile(entry, io.BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would keep each entry


class Collected:
    """Joins small pieces to parts of one section."""

    def __init__(self, archive: ArchiveWriter, section: str) -> None:
        self._archive, self.section = archive, section
        self._data, self._count = bytearray(), 0

    def add(self, data: bytes | memoryview, *, count: int = 1) -> None:
        self._data += data
        self._count += count
        if len(self._data) >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._data:
            self._archive.add(self.section, bytes(self._data), count=self._count)
            self._data, self._count = bytearray(), 0


def read_archive(file: Readable, *, into: list[dict[str, Any]]) -> Iterator[Part]:
    """The parts of an archive in order. After the last one the manifest is checked and appended to `into`.

    Raises BadArchive. Most faults are only found at the end: until then no part is known to be right.
    """
    seen: dict[str, Section] = {}
    last: bytes | None = None
    for name, data in _members(file):
        if last is not None:
            raise BadArchive("The archive goes on after its manifest.")
        if name == MANIFEST:
            last = data
            continue
        if not _NAME.fullmatch(name):
            raise BadArchive(f"The archive has a part that no backup has: {name[:100]!r}")
        section, _, number = name.rpartition("/")
        part = Part(section, number, data)
        seen.setdefault(section, Section()).add(number, data, _count(part))
        yield part
    if last is None:
        raise BadArchive("The archive has no manifest: it is cut, or its backup did not end.")
    manifest = _manifest(last)
    for name in sorted(seen.keys() | manifest["sections"].keys()):
        found = seen[name].summary() if name in seen else None
        if found != manifest["sections"].get(name):
            raise BadArchive(f"The archive's {name} is not what its manifest says: it was changed after the backup.")
    into.append(manifest)


def documents_in(data: bytes) -> Iterator[bytes]:
    """The documents of a part of MongoDB, each as BSON, which begins with its size."""
    first = 0
    while first < len(data):
        size = int.from_bytes(data[first : first + 4], "little")
        if not 5 <= size <= len(data) - first:
            raise BadArchive("The archive has a document that is cut.")
        yield data[first : first + size]
        first += size


def _count(part: Part) -> int:
    if part.section == "pictures":
        return 1
    if part.section.startswith("postgresql/"):
        return part.data.count(b"\n")  # within a row COPY writes it as \\n
    return sum(1 for _ in documents_in(part.data))


def _manifest(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        wanted, sections = manifest["format"], manifest["sections"]
        sections.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadArchive("The archive's manifest cannot be read.") from None
    if wanted != FORMAT:
        raise BadArchive(f"The archive has format {wanted!r}; this version of EdgeChat reads format {FORMAT}.")
    return dict(manifest)


def _members(file: Readable) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each file in the tar file; reads it to its end, where the checksum is."""
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:  # type: ignore[call-overload]
            with tarfile.open(fileobj=unzipped, mode="r|") as tar:
                while (entry := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep each entry
                    if not entry.isreg():
                        raise BadArchive(f"The archive has a part that is not a file: {entry.name[:100]!r}")
                    if entry.size > LARGEST_PART:
                        raise BadArchive(f"The archive has a part of {entry.size} bytes: {entry.name[:100]!r}")
                    content = tar.extractfile(entry)
                    data = content.read() if content is not None else b""
                    if len(data) != entry.size:
                        raise BadArchive("The archive is cut.")
                    yield entry.name, data
            while rest := unzipped.read(64 * 1024):
                if rest.strip(b"\0"):
                    raise BadArchive("The archive goes on after its end.")
    except _DAMAGED as error:
        raise BadArchive(f"The archive is cut or damaged ({type(error).__name__}: {error}).") from None
