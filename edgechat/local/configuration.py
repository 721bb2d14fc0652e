"""The values that a run needs to start, read from the environment and from `.env`. The environment wins."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from edgechat.local.mongo import MongoKind, default_kind
from edgechat.local.process import LocalError
from edgechat.local.stack import ALL_PARTS, Part

PROJECT = Path(__file__).parents[2]
_REPLACED_BY: dict[Part, tuple[str, ...]] = {
    "postgres": ("DATABASE_URL", "POSTGRES_HOST"),
    "mongo": ("MONGODB_URL",),
    "valkey": ("REDIS_URL",),
    "model": ("GEMINI_API_KEY", "GEMINI_BASE_URL"),
}
_NO = ("0", "false", "no", "off")
# The first bytes of such a file. (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)
_GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True)
class Configuration:
    """How to run: the embedded parts, the folder, and the port of the API."""

    data_dir: Path
    port: int
    workers: int
    graceful_seconds: float
    parts: frozenset[Part]
    mongo: MongoKind
    scripted: bool
    gguf: Path | None
    has_superuser: bool
    environment: str

    def replaced(self) -> list[str]:
        """A line for each part that is not embedded because its variable is set."""
        return [f"{part}: not embedded, {_REPLACED_BY[part][0]} is set" for part in sorted(ALL_PARTS - self.parts)]


def read_configuration() -> Configuration:
    """Read the environment and `.env`.

    Raises LocalError that names the variable and its allowed values.
    """
    file = {name: value for name, value in dotenv_values(PROJECT / ".env").items() if value}
    values = {**file, **{name: value for name, value in os.environ.items() if value}}
    mongo = values.get("LOCAL_MONGO", "").lower() or default_kind()
    if mongo not in ("secantus", "nx"):
        raise LocalError(f"LOCAL_MONGO is {mongo!r}; it may be secantus or nx.")
    parts = frozenset(part for part in ALL_PARTS if not any(_is_set(values, name) for name in _REPLACED_BY[part]))
    scripted = values.get("LOCAL_MODEL", "1").strip().lower() in _NO
    return Configuration(
        data_dir=PROJECT / values.get("DATA_DIR", ".data"),
        port=_number(values, "PORT", 8000, 65535),
        workers=_number(values, "WEB_CONCURRENCY", _cores(), 512),
        graceful_seconds=_number(values, "GRACEFUL_TIMEOUT", 30, 3600),
        parts=parts,
        mongo="secantus" if mongo == "secantus" else "nx",
        scripted=scripted,
        gguf=_gguf(values) if "model" in parts and not scripted else None,
        has_superuser=_is_set(values, "FIRST_SUPERUSER_EMAIL"),
        environment=values.get("ENVIRONMENT", "development"),
    )


def _is_set(values: Mapping[str, str], name: str) -> bool:
    return bool(values.get(name) or values.get(f"{name}_FILE"))


def _number(values: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = values.get(name, str(default)).strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        raise LocalError(f"{name} is {text!r}; it must be a number from 1 to {largest}.")
    return int(text)


def _gguf(values: Mapping[str, str]) -> Path | None:
    """The file of the model that LOCAL_MODEL_GGUF names, None if it is unset."""
    given = values.get("LOCAL_MODEL_GGUF", "").strip()
    if not given:
        return None
    path = PROJECT / Path(given).expanduser()
    try:
        with path.open("rb") as file:
            is_gguf = file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LocalError(f"LOCAL_MODEL_GGUF is {given!r}, which cannot be read: {reason}.") from error
    if not is_gguf:
        raise LocalError(f"LOCAL_MODEL_GGUF is {given!r}, which is no GGUF file: it does not begin with GGUF.")
    return path


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
