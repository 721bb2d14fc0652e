"""The calls of the older backends' clients, built on the services of this application.

Only the URL configuration imports it.
"""
