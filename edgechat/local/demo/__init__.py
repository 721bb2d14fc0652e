"""Demo data, `manage.py seed_demo`: people who have used EdgeChat for two months. Imported by that command only.

Everything follows from the people's names and from the dates, so the command can be repeated: it adds what is missing.
"""
