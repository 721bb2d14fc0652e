"""Organizations, their members and invitations.

`members` decides who may read what is shared; conversations and usage call it.
"""
