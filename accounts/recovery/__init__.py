"""Tokens sent by e-mail: a new password, a verified address.

Used by accounts only.
"""
