"""How logins affect concurrent streams, and what the time of a login reveals."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

import argon2
import bcrypt

from accounts.login.password_hashers import MAX_ARGON2_KIB, MAX_BCRYPT_ROUNDS
from bench.load import Result
from bench.scenarios import Measured, Scenario, Target, delays_of_deltas
from bench.site import Site

LOGINS = 100
STREAMS = 50
FAILED_LOGINS = 6  # of each kind, each with its own e-mail
LOOKED_AT = 5  # for one e-mail, before it is locked


class StallWithLogins(Scenario):
    name = "stall-logins"
    title = f"longest delay of a delta, {STREAMS} streams beside {LOGINS} simultaneous logins"
    unit = "ms"
    target = Target(100)

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
    """Logins one after the other, and as many simultaneous ones for one e-mail as are checked before it is locked."""

    name = "login-times"
    title = "time of a refused login: e-mails that are known, imported ones too, against those that are not"
    unit = "x"
    target = Target(1.2)

    def prepare(self, site: Site) -> None:
        """All users registered at the start; some of their hashes are replaced by imported ones."""
        for number, (_, hashed) in enumerate(IMPORTED):
            emails = [site.person(person).email for person in self._people(number + 1)]
            site.sql("UPDATE accounts_user SET password = %s WHERE email = ANY(%s)", [hashed(), emails])

    def measure(self, site: Site) -> Measured:
        one_by_one: dict[str, float] = {}
        simultaneous: dict[str, float] = {}
        for number, kind in enumerate(["known", *(name for name, _ in IMPORTED), "unknown"]):
            site.sql("DELETE FROM accounts_loginattempts")
            emails = [site.person(person).email for person in self._people(number)]
            if kind == "unknown":
                emails = [f"{secrets.token_hex(8)}@example.com" for _ in emails]
            one_by_one[kind] = self._load(site, emails, connections=1).p50
            simultaneous[kind] = self._load(site, emails[:1] * LOOKED_AT, connections=LOOKED_AT).p99
        shown = ", ".join(f"{kind} {one_by_one[kind]:.0f}, {simultaneous[kind]:.0f} ms" for kind in one_by_one)
        print(f"one after the other, {LOOKED_AT} simultaneous: {shown}", flush=True)
        return Measured(max(max(each.values()) / min(each.values()) for each in (one_by_one, simultaneous)))

    def _people(self, kind: int) -> range:
        return range(kind * FAILED_LOGINS, (kind + 1) * FAILED_LOGINS)

    def _load(self, site: Site, emails: list[str], *, connections: int) -> Result:
        bodies = [{"email": email, "password": "not the password"} for email in emails]
        requests = [site.request("POST", "auth/login", body=body) for body in bodies]
        return site.load(requests, connections=connections, expect=401).result


def _bcrypt() -> str:
    return f"bcrypt${bcrypt.hashpw(b'imported', bcrypt.gensalt(MAX_BCRYPT_ROUNDS)).decode()}"


def _argon2() -> str:
    hasher = argon2.PasswordHasher(time_cost=4, memory_cost=MAX_ARGON2_KIB // 4, parallelism=1)
    return f"argon2{hasher.hash('imported')}"


# The slowest hashes that can be imported.
IMPORTED = (("bcrypt", _bcrypt), ("Argon2id", _argon2))
