"""A copy of everything that EdgeChat stores, in one archive, and the way back; used only by `backup` and `restore`.

docs/decisions/0034-backups.md describes the order of the copy and what a restored system does.
"""
