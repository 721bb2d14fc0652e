"""The folder for everything that a run writes: its permissions, its lock, its secrets and the URLs of its servers."""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from edgechat.local.process import LocalError


class DataDir:
    """A run's folder, locked for this process from `acquire` to `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run_env_path = self.path / "run.env"
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Create the folder, closed to other users, and take its lock.

        The system releases the lock when this process dies. Does nothing when this process holds the lock. Raises
        LocalError when another run holds it, or when the folder cannot be written.
        """
        if self._lock is not None:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.stat().st_uid != os.geteuid():
                # Root could continue, but its files would lock the owner out of the next run.
                raise PermissionError(0, "it belongs to another user")
            lock = (self.path / "run.lock").open("a+", encoding="ascii")
        except OSError as error:
            raise LocalError(
                f"The data folder {self.path} can't be used: {error.strerror}. Choose another one with DATA_DIR=PATH."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise LocalError(f"The data folder {self.path} can't be locked: {error.strerror}.") from error
            raise LocalError(
                f"Another EdgeChat (process {owner}) runs on {self.path}. Stop it, or choose another folder with"
                " DATA_DIR=PATH (and another port with PORT=NUMBER)."
            ) from error
        # Only with the lock: the run that held it may have opened the folder for another user.
        self.path.chmod(0o700)
        (self.path / "log").mkdir(mode=0o700, exist_ok=True)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Release the lock. Does nothing when it is not held."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_run_env(self, values: Mapping[str, str]) -> None:
        """Write NAME=value lines, readable by this user only, so that manage.py commands find the running servers."""
        new = self.run_env_path.with_suffix(".new")
        new.unlink(missing_ok=True)
        write_secret(new, "".join(f"{name}={value}\n" for name, value in values.items()))
        new.replace(self.run_env_path)

    def remove_run_env(self) -> None:
        """Remove the file, unless it belongs to another run."""
        if self._lock is not None:
            self.run_env_path.unlink(missing_ok=True)


def write_secret(path: Path, text: str) -> None:
    """Write a new file that no other user can read at any moment.

    Raises FileExistsError when the file exists.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def kept_secret(path: Path) -> str:
    """The password in `path`, created at random (URL-safe characters only) on first use."""
    with contextlib.suppress(FileExistsError):
        write_secret(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()
