"""EdgeChat: the backend of a mobile AI chat app."""

__version__ = "1.1.0"
