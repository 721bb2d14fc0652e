"""The archive of a backup by itself: what is whole is read, and everything else is refused."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from typing import Any

import bson
import pytest

from edgechat.management.backup.archive import ArchiveWriter, BadArchive, Collected, Part, read_archive
from edgechat.management.backup.backup import verify

HEX = "0123456789abcdef" * 2


def archive(*, add: Callable[[ArchiveWriter], object] = lambda _: None, **manifest: Any) -> bytes:
    """A small archive with some of everything, and what `add` puts in it."""
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.add("mongodb/conversations", bson.encode({"_id": "a"}) + bson.encode({"_id": "b"}), count=2)
    writer.add("postgresql/accounts_user", b"1\tAlice\\nand more\n", count=1)
    writer.add("pictures", random.Random(1).randbytes(5000), count=1, name=f"{HEX}.stored")
    add(writer)
    writer.finish(manifest)
    return file.getvalue()


def parts(data: bytes) -> list[Part]:
    return list(read_archive(io.BytesIO(data), into=[]))


def refusal(data: bytes) -> str:
    with pytest.raises(BadArchive) as caught:
        verify(io.BytesIO(data))
    return str(caught.value)


def test_what_was_written_is_read() -> None:
    data = archive(edgechat="1.2.3")
    manifest = verify(io.BytesIO(data))
    assert (manifest["format"], manifest["edgechat"]) == (1, "1.2.3")
    assert {name: section["count"] for name, section in manifest["sections"].items()} == {
        "mongodb/conversations": 2,
        "postgresql/accounts_user": 1,
        "pictures": 1,
    }
    assert [(part.section, part.name) for part in parts(data)] == [
        ("mongodb/conversations", "00000001"),
        ("postgresql/accounts_user", "00000001"),
        ("pictures", f"{HEX}.stored"),
    ]


def test_many_rows_become_a_few_parts_of_bounded_size() -> None:
    def add(writer: ArchiveWriter) -> None:
        rows = Collected(writer, "postgresql/usage_ledgerentry")
        for _ in range(100):
            rows.add(b"x" * 99_999 + b"\n")
        rows.flush()

    data = archive(add=add)
    sizes = [len(part.data) for part in parts(data) if part.section == "postgresql/usage_ledgerentry"]
    assert (len(sizes), sum(sizes)) == (3, 100 * 100_000)
    assert verify(io.BytesIO(data))["sections"]["postgresql/usage_ledgerentry"]["count"] == 100


def test_an_archive_that_ends_early_is_refused_wherever_it_ends() -> None:
    data = archive()
    for end in [0, 1, 9, 10, 11, *range(20, len(data), 97), len(data) - 9, len(data) - 8, len(data) - 1]:
        assert "cut" in refusal(data[:end]), end


def test_an_archive_with_a_changed_byte_is_refused_wherever_it_is() -> None:
    data = archive()
    for place in [0, 1, 2, 3, *range(10, len(data), 61), len(data) - 1]:
        changed = bytearray(data)
        changed[place] ^= 0x10
        assert refusal(bytes(changed)), place


def test_what_follows_an_archive_is_refused() -> None:
    data = archive()
    assert refusal(data + b"x")
    assert "goes on" in refusal(data + data)
    assert "goes on" in refusal(data + gzip.compress(b"more"))


def forged(*members: tuple[tarfile.TarInfo, bytes], manifest: dict[str, Any] | None = None) -> bytes:
    """An archive by somebody else, with right checksums."""
    file = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=file) as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if manifest is not None:
            text = json.dumps(manifest).encode()
            info = tarfile.TarInfo("manifest.json")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/cron.d/x",
        "/etc/passwd",
        f"pictures/../{HEX}.stored",
        f"pictures/{HEX}/stored",
        f"pictures/{HEX}.stored/../x",
        "pictures/00000001",
        "postgresql/accounts_user; DROP TABLE accounts_user/00000001",
        'postgresql/"/00000001',
        "postgresql/00000001",
        "mongodb/system.users/00000001",
        "mongodb/conversations/00000001\n",
        "./manifest.json",
        "",
    ],
)
def test_a_part_with_another_name_is_refused(name: str) -> None:
    manifest = {"format": 1, "sections": {}}
    assert "has a part that" in refusal(forged((tarfile.TarInfo(name), b"x"), manifest=manifest))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_part_that_is_no_file_is_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("postgresql/accounts_user/00000001")
    info.type, info.linkname = kind, "/etc/passwd"
    assert "not a file" in refusal(forged((info, b""), manifest={"format": 1, "sections": {}}))


def test_a_part_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    info = tarfile.TarInfo("postgresql/accounts_user/00000001")
    info.size = 2**40
    assert f"a part of {2**40} bytes" in refusal(gzip.compress(info.tobuf()))


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "has no manifest"),
        ({"format": 2, "sections": {}}, "has format 2; this version of EdgeChat reads format 1"),
        ({"format": "1", "sections": {}}, "has format '1'"),
        ({"sections": {}}, "cannot be read"),
        ({"format": 1}, "cannot be read"),
        ({"format": 1, "sections": []}, "cannot be read"),
        ([], "cannot be read"),
        ({"format": 1, "sections": {}}, "postgresql/accounts_user is not what its manifest says"),
        ({"format": 1, "sections": {"pictures": {}}}, "pictures is not what its manifest says"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(manifest: Any, words: str) -> None:
    member = (tarfile.TarInfo("postgresql/accounts_user/00000001"), b"1\n")
    assert words in refusal(forged(member, manifest=manifest))


def test_a_part_that_comes_after_the_manifest_is_refused() -> None:
    manifest = (tarfile.TarInfo("manifest.json"), b'{"format": 1, "sections": {}}')
    assert "after its manifest" in refusal(forged(manifest, (tarfile.TarInfo("pictures/x"), b"")))


@pytest.mark.parametrize(
    "data", [b"\0", b"\x04\0\0\0", b"\xff\xff\xff\x7f", bson.encode({})[:-1], bson.encode({}) + b"x"]
)
def test_documents_that_are_cut_are_refused(data: bytes) -> None:
    assert "document that is cut" in refusal(archive(add=lambda writer: writer.add("mongodb/owners", data, count=1)))
