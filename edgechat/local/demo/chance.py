"""Chance that is the same in every run."""

from __future__ import annotations

import random


def dice(*subject: object) -> random.Random:
    """Random numbers that follow from the subject."""
    return random.Random(":".join(map(str, subject)))  # noqa: S311  # nosec B311
