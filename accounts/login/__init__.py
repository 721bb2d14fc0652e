"""Passwords, sessions, token pairs, and the lock against guessing passwords.

The only importer of the JWT library; used by all of accounts.
"""
