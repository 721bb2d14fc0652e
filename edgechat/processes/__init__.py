"""Threads, periodic work, and gunicorn's worker.

All apps import `threads` and `periodic`.
"""
