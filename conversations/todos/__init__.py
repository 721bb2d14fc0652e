"""Todos, and action items found in a conversation.

Only the URLs and the admin import it.
"""
