"""Uploaded pictures: rows, files, calls.

replies import the services.
"""
