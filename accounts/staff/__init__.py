"""The admin site: its login, its audited forms, actions and pages.

The other apps' admin modules build on it.
"""
