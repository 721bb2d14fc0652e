"""A web process that writes its e-mails to files, which tests read."""

from __future__ import annotations

import email
import email.policy
import os
import re
from pathlib import Path
from typing import Any


def mail_settings() -> dict[str, str]:
    return {"EMAIL_URL": f"file:///{_folder()}", "PUBLIC_URL": "https://chat.example.com"}


def mails_to(address: str, subject: str) -> list[str]:
    """The texts of the e-mails to an address whose subject contains `subject`."""
    found = []
    for file in sorted(_folder().glob("*.log")):
        for raw in re.split(rb"\n-{79}\n", file.read_bytes()):
            message: Any = email.message_from_bytes(raw, policy=email.policy.default)
            if message["To"] == address and subject in message["Subject"]:
                found.append(str(message.get_content()))
    return found


def _folder() -> Path:
    return Path(os.environ["DATA_DIR"]) / "mails"
