"""Organizations, their members and invitations.

`members` says who may read what is shared; conversations and usage ask it.
"""
