"""What logins do to the streams beside them, and what their time tells."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

from bench.reply_scenarios import delays_of_deltas
from bench.scenarios import Measured, Scenario, Target
from bench.site import Site

LOGINS = 100
STREAMS = 50
FAILED_LOGINS = 12  # of each kind; an address of its own each, for the fifth failure of one locks it


class StallWithLogins(Scenario):
    name = "stall-logins"
    title = f"longest delay of a delta, {STREAMS} streams beside {LOGINS} logins at once"
    unit = "ms"
    target = Target(100, at_least=False)

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(STREAMS)

    def measure(self, site: Site) -> Measured:
        people = [site.person(number) for number in range(LOGINS)]
        bodies = [{"email": person.email, "password": person.password} for person in people]
        requests = [site.request("POST", "auth/login", body=body) for body in bodies]
        with ThreadPoolExecutor(1) as pool:
            streams = pool.submit(delays_of_deltas, site, self._conversations, chunks=50)
            load = site.load(requests, connections=LOGINS)
            return Measured(max(streams.result()), load)


class LoginTimes(Scenario):
    name = "login-times"
    title = "time of a refused login: an e-mail that is known against one that is not"
    unit = "x"
    target = Target(1.2, at_least=False)

    def prepare(self, site: Site) -> None:
        """Everybody registered when the site began."""

    def measure(self, site: Site) -> Measured:
        known = [site.person(number).email for number in range(FAILED_LOGINS)]
        medians = []
        for emails in (known, [f"{secrets.token_hex(8)}@example.com" for _ in known]):
            bodies = [{"email": email, "password": "not the password"} for email in emails]
            requests = [site.request("POST", "auth/login", body=body) for body in bodies]
            medians.append(site.load(requests, connections=1, expect=401).result.p50)
        return Measured(max(medians) / min(medians))
