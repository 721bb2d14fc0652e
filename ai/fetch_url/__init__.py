"""Reading a page of the public web on behalf of a user, who must not reach anything else with it."""

from ai.fetch_url.fetcher import Fetcher, Page, fetch_page
from ai.fetch_url.limits import PageRefused

__all__ = ["Fetcher", "Page", "PageRefused", "fetch_page"]
