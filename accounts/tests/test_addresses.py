"""In production, new accounts and invitations need an address with a domain name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Membership, User
from accounts.tests.logins import log_in, new_email
from accounts.tests.organizations import invite, new_organization
from conftest import Api, Person, assert_error
from edgechat.tests.web_settings import PRODUCTION

REGISTRATIONS = ("auth/register", "auth/signup", "users/register")
MESSAGE = "Enter an address whose domain has a name, such as ann@example.com."
UNNAMED = (
    "[127.0.0.1]",
    "[10.0.0.12]",
    "[::1]",
    "[fd00::7]",
    "localhost",
    "１０.０.０.１２",
)
NAMED = ("example.com", "mail.example.museum", "xn--e1afmkfd.xn--p1ai", "пример.рф", "1.example.com")


def assert_refused(answer: Any, email: str) -> None:
    assert answer.status_code == 422, (email, answer.text)
    errors = [{"field": "body.email", "message": MESSAGE}]
    assert_error(answer, 422, "validation_error", "Validation error", errors=errors)


@pytest.fixture
def production(web_with: Callable[..., str]) -> Api:
    return Api(web_with(**PRODUCTION))


def test_in_production_an_address_has_a_domain_with_a_name(production: Api, register: Callable[..., Person]) -> None:
    alice = register("alice", production.origin)
    organization = new_organization(owner=alice)
    local = new_email().partition("@")[0]
    for domain in UNNAMED:
        email = f"{local}@{domain}"
        for path in REGISTRATIONS:
            assert_refused(production.post(path, json={"email": email, "password": "correct horse"}), email)
        assert_refused(invite(alice, organization, email), email)
    assert not User.objects.filter(email__startswith=local).exists()
    assert Membership.objects.filter(organization=organization).count() == 1
    for number, domain in enumerate(NAMED):
        local = f"{number}{local}"
        answer = production.post("auth/register", json={"email": f"{local}@{domain}", "password": "correct horse"})
        assert answer.status_code == 201, answer.text
        assert invite(alice, organization, f"{local}@{domain}").status_code == 201


def test_who_has_such_an_address_still_logs_in(production: Api) -> None:
    email = f"{new_email().partition('@')[0]}@localhost"
    User.objects.create_user(email, "correct horse")
    assert log_in(production, email, "correct horse").status_code == 200
    assert production.post("auth/password/forgot", json={"email": email}).status_code == 202


def test_in_development_any_domain_is_good(anonymous: Api) -> None:
    email = f"{new_email().partition('@')[0]}@localhost"
    assert anonymous.post("auth/register", json={"email": email, "password": "correct horse"}).status_code == 201
