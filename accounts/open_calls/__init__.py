"""Calls that stay open and end with their session, membership or conversation; slots for simultaneous calls.

Every app that streams or waits imports this package.
"""
