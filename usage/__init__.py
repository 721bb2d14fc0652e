"""What users use: processes that live, ledger, budgets, counted requests, reports.

May be imported by ai and conversations.
"""
