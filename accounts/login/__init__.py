"""Passwords, sessions, token pairs and the login lock.

The only package that imports the JWT library; all of accounts uses it.
"""
