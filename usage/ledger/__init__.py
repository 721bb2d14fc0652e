"""One row for each call to the model, budgets, and prices.

ai opens and settles entries; nobody else writes them.
"""
