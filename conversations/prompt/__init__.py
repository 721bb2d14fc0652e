"""What goes to the model for a reply, and what the model makes of a conversation: its title and rolling summary.

replies and todos import it.
"""
