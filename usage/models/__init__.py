"""Requests of users, calls to the model, and the budgets and prices of these calls.

Single requests and calls are stored as they happened. Sums that are shown often are stored beside them, and
`rebuild_usage` recalculates these.
"""

from usage.models.budgets import Budget, BudgetWarning, Spending
from usage.models.ledger import LedgerEntry, ModelPrice, paid_model, today
from usage.models.processes import Process, Pruning
from usage.models.requests import RecorderPosition, RequestRecord
from usage.models.sums import DailyCost, DailyTraffic, EarlyRefusal, HourlyUsage, OrganizationUsage, UserDay

__all__ = [
    "Budget",
    "BudgetWarning",
    "DailyCost",
    "DailyTraffic",
    "EarlyRefusal",
    "HourlyUsage",
    "LedgerEntry",
    "ModelPrice",
    "OrganizationUsage",
    "Process",
    "Pruning",
    "RecorderPosition",
    "RequestRecord",
    "Spending",
    "UserDay",
    "paid_model",
    "today",
]
