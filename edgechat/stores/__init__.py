"""PostgreSQL, MongoDB and Redis: lazy clients, bounded waits, one error.

All apps import it.
"""
