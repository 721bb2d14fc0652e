"""An account's whole data: import, export, deletion, pruning.

The other apps register their exporters and erasers here.
"""
