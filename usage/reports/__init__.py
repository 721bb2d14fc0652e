"""Sums over the ledger and the counted requests.

Views, commands and the admin use it.
"""
