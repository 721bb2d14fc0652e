"""Pages of the admin about replies. conversations.admin adds them to its own."""
