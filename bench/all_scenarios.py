"""Every figure, in the order of the table. A new figure is a class, listed here by name."""

from __future__ import annotations

from collections.abc import Callable

from bench import (
    login_scenarios,
    overhead_scenarios,
    page_scenarios,
    reply_scenarios,
    scenarios,
    upload_scenario,
    usage_scenarios,
)
from bench.scenarios import Scenario

_CLASSES: tuple[Callable[[], Scenario], ...] = (
    scenarios.Health,
    scenarios.Me,
    overhead_scenarios.RequestOverhead,
    overhead_scenarios.RequestRoundTrips,
    overhead_scenarios.CountingShare,
    overhead_scenarios.RequestCommands,
    overhead_scenarios.ModelCallOverhead,
    overhead_scenarios.SendStatements,
    overhead_scenarios.CompleteStatements,
    scenarios.ConversationList,
    scenarios.HistoryPage,
    scenarios.Send,
    scenarios.Sends200,
    scenarios.Sends1000,
    scenarios.Completions200,
    scenarios.Completions1000,
    reply_scenarios.Streams1000,
    reply_scenarios.CompleteStreams1000,
    reply_scenarios.DeltaDelay,
    upload_scenario.DeltaDelayWithUploads,
    login_scenarios.StallWithLogins,
    login_scenarios.LoginTimes,
    reply_scenarios.HistoryGrowth,
    reply_scenarios.ListGrowth,
    page_scenarios.PageInProcess,
    page_scenarios.PageOverhead,
    page_scenarios.PagesMemory,
    page_scenarios.HealthBesideOrdinaryPages,
    page_scenarios.HealthBesideHostilePages,
    usage_scenarios.UsageMe,
    usage_scenarios.Dashboard,
)


def all_scenarios() -> dict[str, Scenario]:
    """The scenarios by name, in the order of the table."""
    made = [make() for make in _CLASSES]
    return {scenario.name: scenario for scenario in made}
