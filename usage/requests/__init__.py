"""Counting requests: the middleware, and the stream in Redis until they are in PostgreSQL.

Only the settings and start-up import it.
"""
