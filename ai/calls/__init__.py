"""Calls to the model, each with its ledger entry, and the cache of answers.

ai and conversations make all their calls to the model through this package.
"""
