"""Where archives are: files in a folder, and objects in a bucket of S3."""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from django.conf import settings
from django.utils import timezone

# S3 accepts 10,000 parts of an upload: archives up to 312 GiB, with 64 MiB in memory.
_TRANSFER = TransferConfig(multipart_threshold=32 * 1024**2, multipart_chunksize=32 * 1024**2, max_concurrency=2)
# Longer than any backup takes: an unfinished upload does not show whether its process lives.
_UPLOAD_LEFT = timedelta(days=1)
_NAME = re.compile(r"edgechat-\d{8}T\d{6}Z\.tar\.gz", re.ASCII)
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def archive_name() -> str:
    return f"edgechat-{timezone.now():%Y%m%dT%H%M%SZ}.tar.gz"


class FolderPlace:
    """An archive that is written to a file. Only its owner can read it: it has the hashes of all passwords."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / archive_name()
        self._unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        self._locked: int | None = None

    def __str__(self) -> str:
        return str(self.path)

    def remove_leftovers(self) -> Iterator[str]:
        """Delete the files that killed backups have left, which no process has locked; yields a sentence for each."""
        for path in sorted(self.path.parent.glob("edgechat-*.tar.gz.unfinished")):
            with suppress(OSError), path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while another backup writes it
                path.unlink()
                yield f"Deleted {path}, which a backup that was killed had left."

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A new file, which is deleted if the block fails. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = self._create()
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.discard()
            raise

    def _create(self) -> int:
        """A descriptor of the new file, which is locked until it is kept or discarded."""
        while True:
            descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with suppress(OSError):  # without locks, nobody can take it for a leftover either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._unfinished.exists():
                self._locked = os.dup(descriptor)
                return descriptor
            os.close(descriptor)  # another backup took it for a leftover before it was locked

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        with self._unfinished.open("rb") as file:
            yield file

    def keep(self) -> None:
        """Give the file, which was verified, its final name."""
        os.link(self._unfinished, self.path)  # unlike a renaming this replaces no other file
        self.discard()

    def discard(self) -> None:
        self._unfinished.unlink(missing_ok=True)
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None


class BucketPlace:
    """An archive that is uploaded while it is written. It exists under its name when its last byte has arrived."""

    def __init__(self, url: str) -> None:
        self._bucket, prefix = bucket_and_key(url)
        self._key = "/".join(filter(None, [prefix.strip("/"), archive_name()]))
        self._client = _client()

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    def remove_leftovers(self) -> Iterator[str]:
        """End the uploads that killed backups began over a day ago: their parts cost space. Yields what to tell.

        Raises botocore's errors, except for a missing right.
        """
        folder = self._key.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for upload in (upload for page in pages for upload in page.get("Uploads", ())):
                key, begun = upload["Key"], upload["Initiated"]
                if not _NAME.fullmatch(key.removeprefix(prefix)):
                    continue
                if begun > timezone.now() - _UPLOAD_LEFT:
                    yield f"The upload of {key} is not finished: a backup runs, or was killed. It is ended after a day."
                else:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload["UploadId"])
                    yield f"Ended the upload of {key}, which a backup that was killed had left."
        except ClientError as error:
            yield f"Unfinished uploads of former backups cannot be looked for: {error}"

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A pipe to the upload. Raises botocore's and boto3's errors, and OSError."""
        source, sink = os.pipe()
        upload = _Upload(self._client, self._bucket, self._key, os.fdopen(source, "rb"))
        try:
            with os.fdopen(sink, "wb") as file:
                yield file
                upload.is_whole = True
        except BrokenPipeError:
            upload.join()
            raise upload.error or OSError("the upload ended early") from None
        finally:
            upload.join()
        if upload.error is not None:
            raise upload.error

    @contextmanager
    def reading(self) -> Iterator[Any]:
        with _opened(self._client, self._bucket, self._key) as body:
            yield body

    def keep(self) -> None:
        pass

    def discard(self) -> None:
        with suppress(Exception):
            self._client.delete_object(Bucket=self._bucket, Key=self._key)


class _Upload(threading.Thread):
    """Uploads what arrives in a pipe. Nothing is kept if the writer ends without setting `is_whole`."""

    def __init__(self, client: Any, bucket: str, key: str, source: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._client, self._bucket, self._key, self._source = client, bucket, key, source
        self.is_whole = False
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with self._source:
                self._client.upload_fileobj(self, self._bucket, self._key, Config=_TRANSFER)
        except BaseException as error:
            self.error = error

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        if len(data) < size and not self.is_whole:
            raise OSError("the backup failed")
        return data


@contextmanager
def opened_archive(source: str) -> Iterator[Any]:
    """An archive to read: a path, or `s3://BUCKET/KEY`. Raises OSError, botocore's errors, and ValueError."""
    if source.startswith("s3://"):
        bucket, key = bucket_and_key(source)
        with _opened(_client(), bucket, key) as body:
            yield body
    else:
        with Path(source).open("rb") as file:
            yield file


def bucket_and_key(url: str) -> tuple[str, str]:
    match = _S3.fullmatch(url)
    if match is None:
        raise ValueError(f"{url} is not an address such as s3://bucket/folder")
    return match[1], match[2] or ""


@contextmanager
def _opened(client: Any, bucket: str, key: str) -> Iterator[Any]:
    body = client.get_object(Bucket=bucket, Key=key)["Body"]
    try:
        yield body
    finally:
        body.close()


def _client() -> Any:
    return boto3.client("s3", **settings.S3_CLIENT)
