"""The dashboard, and the admin's pages for usage and budgets of users and organizations.

Only the admin imports it.
"""
