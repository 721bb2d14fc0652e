"""/docs: Swagger UI under the strict policy, with a kept token, a filter and a dark mode."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect


def test_the_page_keeps_its_token_filters_calls_and_has_a_dark_mode(
    open_context: Callable[..., BrowserContext], web_url: str
) -> None:
    page = open_context(web_url, color_scheme="dark").new_page()
    page.goto("/docs")
    expect(page.locator("html")).to_have_class("dark-mode")
    page.locator("button.authorize").click()
    page.locator(".auth-container input").fill("a token")
    page.locator(".auth-container button.authorize").click()
    page.locator(".auth-container .btn-done").click()
    page.locator("#theme").click()
    expect(page.locator("html")).not_to_have_class("dark-mode")
    page.reload()
    expect(page.locator("button.authorize.locked")).to_be_visible()
    expect(page.locator("html")).not_to_have_class("dark-mode")
    page.get_by_placeholder("Filter by path").fill("FEEDBACK")
    expect(page.locator(".opblock")).to_have_count(1)
    expect(page.locator(".opblock-summary-path")).to_contain_text("feedback")
