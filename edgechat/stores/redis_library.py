"""Imports redis-py, for the first time in a process, without OpenTelemetry.

Wherever OpenTelemetry is installed, redis-py imports it for metrics of its own, which are off: 0.1 s of each start.
"""

from __future__ import annotations

import sys

if "opentelemetry" not in sys.modules:
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    import redis  # noqa: F401

    del sys.modules["opentelemetry"]
