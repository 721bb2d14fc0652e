"""Sums over the ledger and the counted requests.

Used by views, commands and the admin.
"""
