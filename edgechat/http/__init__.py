"""What every request and answer passes through: middleware, limits, bodies, streams.

All apps import it.
"""
