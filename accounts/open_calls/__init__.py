"""What is open for a session, a membership or a conversation, and ends with it; places for simultaneous calls.

Every app that streams or waits imports it.
"""
