"""Users, sessions, organizations and the audit log.

May be imported by usage, ai and conversations.
"""
