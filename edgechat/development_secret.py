"""The token secret of a development machine. It is made once and kept with the data, so tokens survive a restart."""

import os
import secrets
from pathlib import Path


def development_secret(path: Path) -> str:
    """The secret in `path` (mode 0600), made on first use.

    Two processes that start at the same time use the same secret: a hard link publishes the complete file, and only one
    process can create the link.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
