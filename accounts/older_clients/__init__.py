"""The calls of the older backends' clients, on the services of this one.

Only the URLs import it.
"""
