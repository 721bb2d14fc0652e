"""The prompt of a reply, and what the model generates for a conversation: its title and rolling summary.

The packages `replies` and `todos` import it.
"""
