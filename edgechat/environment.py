"""The one typed reader through which settings read every value from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import environs
from django.core.exceptions import ImproperlyConfigured
from marshmallow.fields import Field


class Environment(environs.FileAwareEnv):
    """Environment variables with types, collected faults, `*_FILE` secrets and `.env` files.

    Sources in order of precedence: the process's environment, then each file given to `read_file`. An empty value, or
    one of white space, counts as unset: compose files and templates pass `NAME=` for "not set". All faulty and missing
    variables are collected; `finish()` raises one ImproperlyConfigured for all of them.
    """

    def __init__(self) -> None:
        super().__init__(eager=False, strip_whitespace=True)
        self._faults: list[str] = []
        self.names_read: set[str] = set()

    def read_file(self, path: Path) -> bool:
        """Add the variables of a `.env` file that no earlier source has set; False if there is no such file."""
        found = bool(self.read_env(path, recurse=False))
        # Otherwise an empty `NAME=` in this file would hide the value in the next file.
        self._environ = {name: value for name, value in self._environ.items() if not _is_blank(value)}
        return found

    def is_set(self, name: str) -> bool:
        return self._get_value(name, ...) is not ...

    def declared(self, name: str) -> Field[Any]:
        """The field by which a variable was read: its type, its default and its validators."""
        return self._fields[name]

    def fault(self, name: str, message: str) -> None:
        """Report a value that has the right type but cannot be used."""
        self._faults.append(f"{name}: {message}")

    def finish(self) -> None:
        """Raise ImproperlyConfigured with every fault, one a line, on each call. Do nothing when there is none."""
        try:
            self.seal()
        except environs.EnvValidationError as error:
            for name, messages in cast(dict[str, list[str]], error.error_messages).items():
                self._faults.extend(f"{name}: {message}" for message in messages)
        if self._faults:
            faults = "\n  ".join(sorted(self._faults))
            raise ImproperlyConfigured(f"EdgeChat cannot start with these settings:\n  {faults}")

    def _get_value(self, env_key: str, default: Any) -> Any:
        self.names_read.add(env_key)
        try:
            value = super()._get_value(env_key, default)
        except ValueError as error:
            self.fault(env_key, str(error))
            return default
        if _is_blank(value) and _is_blank(os.environ.get(env_key)):
            value = self._environ.get(env_key, default)
        return default if _is_blank(value) else value


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()
