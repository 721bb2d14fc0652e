"""The admin site: its login, audited forms, actions and pages.

The admin modules of the other apps build on it.
"""
