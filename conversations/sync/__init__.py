"""Search, changes for other devices, exports.

Only views import it.
"""
