"""Uploaded pictures: rows, files and calls.

The package `replies` imports the services.
"""
