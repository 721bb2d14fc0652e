"""The published OpenAPI file and the pages that show it.

Serializers and views import `schema`.
"""
