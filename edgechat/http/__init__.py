"""What every request and answer passes: middleware, limits, bodies, streams.

All apps import it.
"""
