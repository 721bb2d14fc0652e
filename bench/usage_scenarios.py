"""The cost of reading a large usage history."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from bench.scenarios import Measured, Scenario, Target
from bench.site import Site
from bench.usage_data import CALLS, HEAVY_REQUESTS, REQUESTS, USERS, fill_usage

_DATA = f"{REQUESTS:,} requests of {USERS:,} users, {CALLS:,} calls"


class LookAtUsage(Scenario):
    """The time that 95 of 100 requests take at most, one after the other."""

    unit = "ms"
    seconds: ClassVar[float] = 2.0

    def prepare(self, site: Site) -> None:
        self._request = self.request(site)
        site.load([self._request] * 20, connections=2)

    def measure(self, site: Site) -> Measured:
        load = site.load([self._request], connections=1, seconds=self.seconds)
        return Measured(load.result.p95, load)

    @abstractmethod
    def request(self, site: Site) -> str:
        """The request to time, once the data exists."""


class UsageMe(LookAtUsage):
    name = "usage-me-2m"
    title = f"GET /usage/me of {HEAVY_REQUESTS:,} among {_DATA}: p95"
    target = Target(20, at_least=False)

    def request(self, site: Site) -> str:
        return site.request("GET", "usage/me", person=fill_usage(site))


class Dashboard(LookAtUsage):
    name = "dashboard-2m"
    title = f"GET /admin/, {_DATA}: p95"
    target = Target(300, at_least=False)

    def request(self, site: Site) -> str:
        fill_usage(site)
        return f"GET /admin/ HTTP/1.1\r\nHost: {site.address}\r\nCookie: {_superuser_cookie()}\r\n\r\n"


def _superuser_cookie() -> str:
    """The cookie of a superuser who has logged in to the admin."""
    from django.conf import settings
    from django.contrib.auth import login
    from django.contrib.sessions.backends.signed_cookies import SessionStore
    from django.http import HttpRequest

    from accounts.models import User

    request = HttpRequest()
    request.session = SessionStore()
    login(request, User.objects.create_superuser("root@example.com"))
    request.session.save()
    return f"{settings.SESSION_COOKIE_NAME}={request.session.session_key}"
