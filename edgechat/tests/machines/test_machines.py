"""Machines on the same stores are one service, and one that is cut off does no harm.

`make machines-test` runs these, because network namespaces need root or a user namespace.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest

from conftest import Api, Person
from conversations.tests.test_three_gunicorns import (
    LIMITS,
    LONG,
    OTHER_CLOCK,
    Running,
    at,
    people,
    test_a_budget_is_one_for_all,
    test_a_killed_one_s_reply_is_taken_over_by_another,
    test_a_reply_is_resumed_and_stopped_at_another,
    test_a_session_that_ends_at_one_ends_at_all,
    test_limits_count_together,
)
from edgechat.local.postgres import Postgres
from edgechat.local.process import ChildProcess, wait_until
from edgechat.metrics.tests.scrape import Scrape
from edgechat.tests.machines.machine import Machine, cables, ip
from edgechat.tests.web_settings import WITHOUT_MONGODB, WITHOUT_REDIS
from usage.models import LedgerEntry

# The tests of three gunicorns, whose fixture `machines` is the one below.
__all__ = [
    "people",
    "test_a_budget_is_one_for_all",
    "test_a_killed_one_s_reply_is_taken_over_by_another",
    "test_a_reply_is_resumed_and_stopped_at_another",
    "test_a_session_that_ends_at_one_ends_at_all",
    "test_limits_count_together",
]

PROJECT = Path(__file__).parents[3]
Eventually = Callable[..., Any]
# The default limit of waiting for a store, which is longer in other tests.
SETTINGS = {"APP_NAME": "Third", "STORE_TIMEOUT_SECONDS": "4.5"}
CUTS = {"unplugged": (Machine.unplug, Machine.plug_in), "silent": (Machine.silence, Machine.end_silence)}


@pytest.fixture
def folder(data_dir: Path) -> Path:
    data_dir.chmod(0o755)
    return data_dir


@pytest.fixture(scope="module")
def elsewhere(shared_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose clock is three minutes ahead."""
    machine = Machine(tmp_path_factory.mktemp("elsewhere"), **SETTINGS, **LIMITS, **OTHER_CLOCK)
    try:
        machine.start()
        yield machine
    finally:
        machine.end()


@pytest.fixture
def machines(web_with: Callable[..., str], elsewhere: Machine) -> list[str]:
    """Two gunicorns on this machine, and one elsewhere."""
    return [web_with(APP_NAME="First", **LIMITS), web_with(APP_NAME="Second", **LIMITS), elsewhere.url]


def attempts_of(mid: str) -> list[LedgerEntry]:
    return list(LedgerEntry.objects.filter(attempt_id__startswith=f"{mid}:", purpose="chat"))


def tokens_of(person: Api) -> int:
    return int(person.get("usage/me").json()["tokens"]["total"])


def charged(user_id: int) -> int:
    entries = LedgerEntry.objects.filter(user_id=user_id)
    return sum(entry.input_tokens + entry.output_tokens for entry in entries)


def reaches(person: Api) -> bool:
    """Whether a request through the cable is answered as usual."""
    try:
        return person.get("users/me", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False


def test_it_has_an_address_a_loopback_a_name_and_a_clock_of_its_own(elsewhere: Machine) -> None:
    assert elsewhere.run("hostname").strip() == "elsewhere"
    addresses = elsewhere.run("ip", "-brief", "-4", "address")
    assert "127.0.0.1/8" in addresses
    assert f"{elsewhere.address}/30" in addresses
    # What listens on this machine's loopback is not there.
    port = int(os.environ["REDIS_URL"].rpartition(":")[2].partition("/")[0])
    code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
    assert int(elsewhere.run(sys.executable, "-c", code)) != 0
    with Api(elsewhere.url) as api:
        answer = api.get("health")
    assert answer.json() == {"status": "ok"}
    assert abs(time.mktime(time.strptime(answer.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")) - utc_now() - 180) < 60


def utc_now() -> float:
    return time.mktime(time.gmtime())


@pytest.mark.parametrize("cut", CUTS)
def test_a_machine_that_is_cut_off_in_mid_reply_loses_it_to_another_and_returns_without_harm(
    cut: str,
    elsewhere: Machine,
    machines: list[str],
    people: list[Api],
    eventually: Eventually,
    model_calls: Callable[[str], list[dict[str, Any]]],
) -> None:
    here, there = people[0], people[2]
    user_id = here.get("auth/me").json()["id"]
    token = there.headers["Authorization"].removeprefix("Bearer ")
    marker = f"cut-{cut}-{user_id}"
    assert elsewhere.web is not None
    dead_before = elsewhere.web.log_text().count("declared_dead")
    running = Running(there, f"[[chunks=60]][[gap=0.2]]{marker} " + "word " * 60)
    leave, come_back = CUTS[cut]
    leave(elsewhere)
    cut_at = time.monotonic()
    try:
        # It answers on its own loopback, in the usual shape, and has nothing to serve.
        assert elsewhere.ask_itself("health", token)[0] == 200
        asked_at = time.monotonic()
        status, body = elsewhere.ask_itself("users/me", token)
        print(f"{cut}: a call on the machine itself answered {status} after {time.monotonic() - asked_at:.1f} s")  # noqa: T201
        assert (status, body["code"]) == (503, "store_unavailable")
        eventually(lambda: here.get(running.path).json()["messages"][1]["status"] == "complete")
        print(f"{cut}: complete on another machine {time.monotonic() - cut_at:.1f} s after the cut")  # noqa: T201
    finally:
        come_back(elsewhere)
    final = here.get(running.path).json()
    running.close()
    eventually(lambda: elsewhere.web.log_text().count("declared_dead") > dead_before)
    eventually(lambda: reaches(there))
    # What it had written of the reply is given up.
    eventually(lambda: Scrape(elsewhere.url).total("edgechat_replies_running") == 0)
    assert there.get(running.path).json() == here.get(running.path).json() == final
    # Each call to the model is one settled row of the ledger, and each row is counted once.
    reached = [call for call in model_calls(marker) if call["text"].startswith("[[chunks=60]]")]
    attempts = attempts_of(running.mid)
    assert len(attempts) == len(reached) == 2
    assert len({entry.attempt_id for entry in attempts}) == 2
    assert all(entry.settled_at for entry in attempts)
    eventually(lambda: tokens_of(here) == charged(user_id))
    # The machine writes again, and the numbers go on without a gap.
    assert there.post(running.path, json={"content": "and on"}, timeout=60).status_code == 200
    messages = here.get(running.path).json()["messages"]
    assert [message["seq"] for message in messages] == [1, 2, 3, 4]
    assert messages[:2] == final["messages"]
    eventually(lambda: tokens_of(there) == charged(user_id))


def test_a_machine_that_returns_at_once_goes_on_with_its_reply(
    elsewhere: Machine, machines: list[str], register: Callable[..., Person], eventually: Eventually
) -> None:
    alice = register("alice", elsewhere.url)
    running = Running(alice, "[[chunks=40]][[gap=0.2]]" + "word " * 40)
    running.close()
    elsewhere.unplug()
    elsewhere.plug_in()
    with at(machines[0], alice) as here:
        eventually(lambda: here.get(running.path).json()["messages"][1]["status"] == "complete")
        eventually(lambda: tokens_of(here) == charged(alice.id))
    assert all(entry.settled_at for entry in attempts_of(running.mid))


def everything_a_user_does(person: Person, other: str) -> None:
    conversation = person.new_conversation(title="Bread")
    key = {"client_message_id": "once"}
    first = person.say(conversation, "Hello", **key)
    assert first.status_code == 200
    assert person.say(conversation, "Hello", **key).json() == first.json()
    running = Running(person, LONG)
    with at(other, person) as here:
        assert here.post(f"{running.path}/{running.mid}/stop").json()["status"] == "stopped"
    assert list(running.events)[-1]["data"]["status"] == "stopped"
    running.close()
    for path in ("users/me", "auth/sessions", "usage/me", "chat/conversations", "users/me/export"):
        assert person.get(path).status_code == 200, path


def test_a_slow_line_makes_nothing_wrong(
    elsewhere: Machine, machines: list[str], register: Callable[..., Person], eventually: Eventually
) -> None:
    for proxy in elsewhere.proxies.values():
        proxy.delay = 0.05
    try:
        alice = register("alice", elsewhere.url)
        everything_a_user_does(alice, machines[0])
    finally:
        for proxy in elsewhere.proxies.values():
            proxy.delay = 0.0
    with at(machines[0], alice) as here:
        eventually(lambda: tokens_of(here) == charged(alice.id))


def test_a_line_that_loses_packets_makes_nothing_wrong(
    elsewhere: Machine, machines: list[str], register: Callable[..., Person], eventually: Eventually
) -> None:
    try:
        subprocess.run(
            ["tc", *f"qdisc add dev {elsewhere.cable} root netem delay 20ms 10ms loss 3%".split()],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this kernel has no netem")
    try:
        alice = register("alice", elsewhere.url)
        everything_a_user_does(alice, machines[0])
    finally:
        subprocess.run(["tc", "qdisc", "del", "dev", elsewhere.cable, "root"], capture_output=True, check=True)
    with at(machines[0], alice) as here:
        eventually(lambda: tokens_of(here) == charged(alice.id))


class ReachedPostgres(Postgres):
    """PostgreSQL that a machine reaches directly, without a proxy that keeps its connections open."""

    def __init__(self, data_dir: Path, address: str) -> None:
        super().__init__(data_dir, durable=False, name="postgres-reached")
        self._address = address

    def prepare(self) -> None:
        super().prepare()
        [access] = self.folder.glob("*/pg_hba.conf")
        access.write_text(f"{access.read_text()}\nhost all all {self._address}/30 scram-sha-256\n")

    def command(self, port: int) -> list[str]:
        return [f"{word},{self._address}" if "listen_addresses" in word else word for word in super().command(port)]


# With the settings of a web process.
_LOCKS = """
import gevent.monkey
gevent.monkey.patch_all()
import time, django
django.setup()
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("UPDATE budget SET used = used + 1")
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_row_that_a_machine_had_locked_is_free_soon_after_it_is_cut_off(folder: Path) -> None:
    """PostgreSQL would wait two hours for it by default."""
    machine = Machine(folder)
    machine.connect()
    server = ReachedPostgres(folder, machine.gateway)
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as here:
            here.execute("CREATE TABLE budget AS SELECT 0 AS used")
            there = server.url.replace("127.0.0.1", machine.gateway)
            locker = ChildProcess(
                [*machine.enter, sys.executable, "-c", _LOCKS],
                log_path=folder / "locker.log",
                cwd=PROJECT,
                env={**os.environ, **WITHOUT_REDIS, **WITHOUT_MONGODB, "DATABASE_URL": there},
            )
            assert wait_until(lambda: "locked" in locker.log_text(), seconds=120), locker.log_text()
            machine.unplug()
            cut_at = time.monotonic()
            here.execute("SET lock_timeout = '120s'")
            here.execute("UPDATE budget SET used = used + 10")
            print(f"a row that a cut machine had locked was free after {time.monotonic() - cut_at:.1f} s")  # noqa: T201
            assert here.execute("SELECT used FROM budget").fetchone() == (10,)
        locker.kill()
    finally:
        server.kill()
        machine.end()


_LEAVES = """
import sys, time
from pathlib import Path
from edgechat.tests.machines.machine import Machine
machine = Machine(Path(sys.argv[1]))
machine.connect()
print(machine.cable, flush=True)
time.sleep(600)
"""


def test_nothing_of_a_machine_is_left_by_a_run_that_is_killed(folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _LEAVES, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    cable = child.stdout.readline().strip()
    assert cable in cables()
    inside = psutil.Process(child.pid).children(recursive=True)
    assert inside
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert wait_until(lambda: cable not in cables(), seconds=120)
    assert wait_until(lambda: not any(each.is_running() for each in inside), seconds=120)


def test_the_next_run_removes_what_a_process_still_holds(folder: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = f"ec{gone.pid}m1"
    ip("link", "add", left, "type", "veth", "peer", "name", f"{left}p")
    machine = Machine(folder)
    try:
        machine.connect()
        assert left not in cables()
        assert machine.cable in cables()
    finally:
        machine.end()
    assert machine.cable not in cables()
