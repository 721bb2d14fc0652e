"""Personal API keys: long-lived tokens of a user for programs, limited to the calls of their scopes.

`accounts.authentication` accepts them; the API and the admin list and end them.
"""
