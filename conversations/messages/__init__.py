"""The calls for messages and their pages.

Only the URLs import the views.
"""
