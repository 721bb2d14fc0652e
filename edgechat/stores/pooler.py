"""Tells a pooler that refuses EdgeChat's connections from a server that is away."""

from __future__ import annotations

ADVICE = "A pooler in front of PostgreSQL refuses the options of a session: set DATABASE_POOLER=true"
# PgBouncer, in each of its modes, and the proxy of Amazon RDS.
_REFUSALS = ("unsupported startup parameter", "doesn't support command-line options")


def refuses_options(error: Exception) -> bool:
    return any(text in str(error) for text in _REFUSALS)
