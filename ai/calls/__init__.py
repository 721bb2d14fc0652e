"""A call to the model with its ledger row, and answers that are kept.

All of ai and conversations call the model through it.
"""
