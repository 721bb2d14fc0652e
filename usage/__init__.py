"""Usage: live processes, the ledger, budgets, counted requests, reports.

May be imported by ai and conversations.
"""
