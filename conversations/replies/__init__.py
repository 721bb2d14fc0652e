"""A reply's life cycle: claim, call, stream, end, and take-over after its process dies.

`send` and `regenerate` are the entry points.
"""
