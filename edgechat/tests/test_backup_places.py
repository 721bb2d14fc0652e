"""Where archives are written: files and objects, which exist only when they are whole."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.test import override_settings

from edgechat.management.backup.places import BucketPlace, FolderPlace, opened_archive
from edgechat.tests.object_store import ObjectStore

# More than one part of an upload.
LARGE = random.Random(1).randbytes(40 * 1024**2)


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    client = {"endpoint_url": store.url, "region_name": "x", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
    with override_settings(S3_CLIENT=client):
        yield store
    store.close()


def test_a_file_has_its_name_when_it_is_kept_and_is_for_its_owner_only(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "new")
    with place.writing() as file:
        file.write(b"archive")
    [unfinished] = (tmp_path / "new").iterdir()
    assert unfinished.name.endswith(".tar.gz.unfinished")
    with place.reading() as stored:
        assert stored.read() == b"archive"
    place.keep()
    [path] = (tmp_path / "new").iterdir()
    assert (str(path), path.read_bytes(), path.stat().st_mode & 0o777) == (str(place), b"archive", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_whose_backup_fails_is_deleted_and_no_other_file_is_replaced(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    with pytest.raises(ZeroDivisionError), place.writing():
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    place.path.write_bytes(b"another")
    with place.writing() as file:
        file.write(b"archive")
    with pytest.raises(FileExistsError):
        place.keep()
    place.discard()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"another"]


def test_a_full_disk_ends_the_backup_without_a_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"), FolderPlace(tmp_path).writing() as file:
            file.write(LARGE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_backup_left_is_deleted_and_what_another_one_writes_is_not(tmp_path: Path) -> None:
    left = tmp_path / "edgechat-20260101T000000Z.tar.gz.unfinished"
    whole = tmp_path / "edgechat-20260101T000000Z.tar.gz"
    for path in (left, whole):
        path.write_bytes(b"x")
    place, next_place = FolderPlace(tmp_path), FolderPlace(tmp_path)
    assert list(place.remove_leftovers()) == [f"Deleted {left}, which a backup that was killed had left."]
    with place.writing() as file:
        assert list(next_place.remove_leftovers()) == []
        file.write(b"archive")
    assert list(next_place.remove_leftovers()) == []
    place.keep()
    assert sorted(tmp_path.iterdir()) == [whole, place.path]


def test_an_upload_that_a_killed_backup_left_is_ended_after_a_day(store: ObjectStore) -> None:
    place = BucketPlace("s3://backups/nightly")
    now = datetime.now(UTC)
    for number, (name, hours) in enumerate(
        [
            ("nightly/edgechat-20260101T000000Z.tar.gz", 25),
            ("nightly/edgechat-20260102T000000Z.tar.gz", 23),
            ("nightly/another's.tar.gz", 25),
        ]
    ):
        store.uploads[str(number)] = {}
        store.begun[str(number)] = (f"/backups/{name}", now - timedelta(hours=hours))
    ended, told = place.remove_leftovers()
    assert ended.startswith("Ended the upload of nightly/edgechat-20260101T")
    assert told.startswith("The upload of nightly/edgechat-20260102T000000Z.tar.gz is not finished")
    assert list(store.uploads) == ["1", "2"]


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "in parts"])
def test_an_archive_goes_to_a_bucket_while_it_is_written_and_comes_back(store: ObjectStore, data: bytes) -> None:
    place = BucketPlace("s3://backups/nightly/")
    with place.writing() as file:
        for first in range(0, len(data), 1_000_000):
            file.write(data[first : first + 1_000_000])
    place.keep()
    [(name, stored)] = store.files.items()
    assert (f"s3:/{name}", stored == data, store.uploads) == (str(place), True, {})
    assert str(place).startswith("s3://backups/nightly/edgechat-")
    with place.reading() as body:
        assert body.read() == data
    with opened_archive(str(place)) as body:
        assert body.read(3) == data[:3]
    place.discard()
    assert store.files == {}


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "in parts"])
def test_a_backup_that_fails_leaves_nothing_in_the_bucket(store: ObjectStore, data: bytes) -> None:
    place = BucketPlace("s3://backups")
    with pytest.raises(ValueError, match="no"):
        write_and_fail(place, data)
    assert (store.files, store.uploads) == ({}, {})


def write_and_fail(place: BucketPlace, data: bytes) -> None:
    with place.writing() as file:
        file.write(data)
        raise ValueError("no")


def test_an_upload_that_fails_ends_the_backup(store: ObjectStore) -> None:
    place = BucketPlace("s3://backups")
    store.close()
    with pytest.raises((Boto3Error, BotoCoreError, ClientError, OSError)), place.writing() as file:
        file.write(b"archive")


@pytest.mark.parametrize("url", ["s3://", "s3://x", "s3://Upper/x", "ftp://host/x", "s3:///x", "s3://a..b_/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address such as s3://bucket/folder"):
        BucketPlace(url)
