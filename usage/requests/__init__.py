"""Counts requests: the middleware, and the stream in Redis that holds them until they are in PostgreSQL.

Only the settings and the start-up code import it.
"""
