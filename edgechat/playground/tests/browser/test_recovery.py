"""What is done with the e-mails: a new password, and a verified address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from accounts.tests.mails import mails_to
from conftest import Person

Eventually = Callable[[Callable[[], Any]], Any]


def link_in(mails: list[str]) -> str:
    """The link in the latest e-mail, without its host."""
    found = re.search(r"https://chat\.example\.com(/\S+)", mails[-1])
    assert found is not None
    return found[1]


def sign_in(page: Page, email: str, password: str) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def ask_for_reset(page: Page, email: str) -> None:
    page.get_by_role("button", name="Forgot your password?").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Send me an e-mail").click()
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()


def test_a_forgotten_password_is_replaced_through_the_link_in_an_e_mail(
    page: Page, alice: Person, eventually: Eventually
) -> None:
    ask_for_reset(page, alice.email)
    mails = eventually(lambda: mails_to(alice.email, "Reset your password"))
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    # The same page without the # would not be loaded again.
    page.goto("about:blank")
    page.goto(link_in(mails))
    expect(page.get_by_role("heading", name="Choose a new password")).to_be_visible()
    assert page.url.endswith("/playground")
    page.locator("[name=password]").fill("a brand new password")
    page.get_by_role("button", name="Change the password").click()
    expect(page.locator("form [role=status]")).to_have_text("The password was changed. Please sign in with it.")
    sign_in(page, alice.email, "a brand new password")
    expect(page.locator("#message")).to_be_visible()
    assert [url for url in asked if "token=" in url.partition("#")[0]] == []


def test_a_forgotten_password_is_replaced_with_the_code_of_an_e_mail(
    page: Page, alice: Person, eventually: Eventually
) -> None:
    ask_for_reset(page, alice.email)
    code = link_in(eventually(lambda: mails_to(alice.email, "Reset your password"))).partition("token=")[2]
    page.get_by_label("Code from the e-mail").fill("no such code")
    page.locator("[name=password]").fill("a brand new password")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not valid, has expired, or was used already.")
    page.get_by_label("Code from the e-mail").fill(code)
    page.get_by_role("button", name="Change the password").click()
    expect(page.locator("form [role=status]")).to_have_text("The password was changed. Please sign in with it.")


def test_an_address_is_verified_through_the_link_or_the_code_of_an_e_mail(
    alices: Page, alice: Person, eventually: Eventually
) -> None:
    link = link_in(eventually(lambda: mails_to(alice.email, "Verify your e-mail address")))
    account = alices.get_by_role("button", name=alice.email)
    account.click()
    alices.get_by_label("Verification code").fill("no such code")
    alices.get_by_role("button", name="Verify").click()
    expect(alices.locator(".notices")).to_contain_text("This is not valid, has expired, or was used already.")
    alices.get_by_role("button", name="Send it again").click()
    expect(alices.locator(".notices")).to_contain_text("An e-mail is on its way.")
    alices.goto("about:blank")
    alices.goto(link)
    expect(alices.locator(".notices")).to_contain_text("Your e-mail address is verified.")
    account.click()
    expect(alices.get_by_role("heading", name="Account")).to_be_visible()
    expect(alices.get_by_label("Verification code")).to_have_count(0)
    assert alice.get("users/me").json()["is_verified"] is True
