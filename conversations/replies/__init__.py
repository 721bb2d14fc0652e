"""A reply's life: claim, call, stream, end, and take-over after its process died.

`send` and `regenerate` are the ways in.
"""
