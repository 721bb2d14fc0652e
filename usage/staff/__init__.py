"""The dashboard, and the admin's pages of people and budgets.

Only the admin imports it.
"""
