"""An account's whole data: import, export, deletion, pruning.

The other apps register here what they export and erase.
"""
