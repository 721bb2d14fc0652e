"""Fetches public web pages for users. The fetcher must not reach anything that is not public."""

from ai.fetch_url.fetcher import Fetcher, Page, fetch_file, fetch_page
from ai.fetch_url.limits import PageRefused

__all__ = ["Fetcher", "Page", "PageRefused", "fetch_file", "fetch_page"]
