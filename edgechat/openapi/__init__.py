"""The published OpenAPI file and the pages that show it.

Views import `notes`. `schema` and `document` make the file, in a process of their own; servers read `built_file`.
"""
