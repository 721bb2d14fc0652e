"""Metrics for Prometheus: their declarations, the files in which processes keep them, and `/metrics`.

All apps import `edgechat.metrics.catalog`.
"""
