"""Where archives are: files in a folder, and objects in a bucket of S3."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import boto3
from boto3.s3.transfer import TransferConfig
from django.conf import settings
from django.utils import timezone

# S3 accepts 10,000 parts of an upload: archives up to 312 GiB, with 64 MiB in memory.
_TRANSFER = TransferConfig(multipart_threshold=32 * 1024**2, multipart_chunksize=32 * 1024**2, max_concurrency=2)
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def archive_name() -> str:
    return f"edgechat-{timezone.now():%Y%m%dT%H%M%SZ}.tar.gz"


class FolderPlace:
    """An archive that is written to a file. Only its owner can read it: it has the hashes of all passwords."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / archive_name()
        self._unfinished = self.path.with_name(f"{self.path.name}.unfinished")

    def __str__(self) -> str:
        return str(self.path)

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A new file, which is deleted if the block fails. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.discard()
            raise

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        with self._unfinished.open("rb") as file:
            yield file

    def keep(self) -> None:
        """Give the file, which was verified, its final name."""
        os.link(self._unfinished, self.path)  # unlike a renaming this replaces no other file
        self._unfinished.unlink()

    def discard(self) -> None:
        self._unfinished.unlink(missing_ok=True)


class BucketPlace:
    """An archive that is uploaded while it is written. It exists under its name when its last byte has arrived."""

    def __init__(self, url: str) -> None:
        self._bucket, prefix = bucket_and_key(url)
        self._key = "/".join(filter(None, [prefix.strip("/"), archive_name()]))
        self._client = _client()

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

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
