"""Calls to the model: completions, pictures, summaries.

May be imported by conversations.
"""
