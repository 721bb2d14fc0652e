"""Conversations, messages, replies, attachments and todos.

No other app imports it.
"""
