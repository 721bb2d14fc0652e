"""Tokens sent by e-mail: a new password, a verified address.

Only accounts uses this package.
"""
