"""The ledger (one row for each call to the model), budgets, and prices.

ai opens and settles the entries; no other app writes them.
"""
