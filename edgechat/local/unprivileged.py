"""PostgreSQL refuses to run as root: the user to run it as, and whether that user can reach a folder.

No permission outside the data folder is ever changed. An unreachable folder is reported, with a way out.
"""

import os
import pwd
import stat
import subprocess
from pathlib import Path

from edgechat.local.process import Identity, LocalError

_NOBODY = 65534


def identity_for(folder: Path) -> Identity | None:
    """The user for a server that keeps its data in `folder`: None (this user), unless this user is root.

    For root it is the folder's owner if the folder exists, else `nobody`.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        owner = folder.stat()
        return Identity(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Identity(_NOBODY, _NOBODY)
    return Identity(entry.pw_uid, entry.pw_gid)


def give_folder(folder: Path, identity: Identity | None) -> None:
    """Create `folder` (0700) and give it to `identity`.

    Raises LocalError when the file system refuses.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    if identity is not None:
        try:
            os.chown(folder, identity.uid, identity.gid)
        except OSError as error:
            raise LocalError(
                f"{folder} can't be given to the unprivileged user {identity.uid} that PostgreSQL runs as for root"
                f" ({error.strerror}). Run as an ordinary user, or choose a local file system with DATA_DIR=PATH."
            ) from error


def let_pass(folder: Path, identity: Identity | None) -> None:
    """Let only `identity` pass through a folder of the run, without listing it: its group and mode 0710."""
    if identity is not None:
        os.chown(folder, -1, identity.gid)
        folder.chmod(0o710)


def can_execute(program: Path, identity: Identity | None) -> bool:
    """True when `identity` can run `program`."""
    try:
        return _run_as(identity, [str(program), "--version"]) == 0
    except PermissionError:
        return False


def require_reachable(folder: Path, identity: Identity | None) -> None:
    """Check that `identity` can enter and write `folder`.

    Raises LocalError that names the closed parent, and another DATA_DIR.
    """
    if identity is None:
        return
    test = ["/bin/sh", "-c", 'cd -- "$1" && test -w .', "sh", str(folder)]
    if _run_as(identity, test) == 0:
        return
    closed = next((parent for parent in reversed(folder.parents) if not _passes(parent, identity)), folder)
    raise LocalError(
        f"PostgreSQL does not run as root, and the user {identity.uid} that it runs as instead can't pass {closed}."
        " Choose a folder that others can reach, for example DATA_DIR=/var/tmp/edgechat, or run as an ordinary user."
    )


def _passes(folder: Path, identity: Identity) -> bool:
    status = folder.stat()
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _run_as(identity: Identity | None, command: list[str]) -> int:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        check=False,
        user=None if identity is None else identity.uid,
        group=None if identity is None else identity.gid,
        extra_groups=None if identity is None else [],
    ).returncode
