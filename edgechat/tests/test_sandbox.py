"""Work in a separate process: what it may do there, how it ends, and that nothing of it remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import at_once
from edgechat.errors import StoreUnavailable
from edgechat.sandbox import jobs
from edgechat.sandbox.job_limit import JobLimit, NotStarted, OutOfTime, working_for
from edgechat.sandbox.jobs import Job, JobFailed

Eventually = Callable[..., Any]
LONG = 120.0  # seconds, longer than any job here takes

job = Job("edgechat.tests.sandbox_job", limit=JobLimit(8, per_user=8), memory=256 * 1024**2, max_bytes=20 * 1024**2)


def do(what: str, *files: bytes, seconds: float = LONG, **arguments: Any) -> dict[str, Any]:
    return job.run({"do": what, **arguments}, *files, seconds=seconds)[0]


def test_files_and_values_go_there_and_back() -> None:
    files = (b"", os.urandom(10_000_000), b"x")
    assert job.run({"do": "echo", "name": "Žluť \0"}, *files, seconds=LONG) == (
        {"do": "echo", "name": "Žluť \0"},
        list(files),
    )


def test_the_process_has_nothing_of_ours() -> None:
    told = do("process")
    assert told["pid"] != os.getpid()
    assert "JWT_SECRET" not in told["environment"]
    assert set(told["environment"]) <= {
        *("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONWARNINGS"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LC_CTYPE"),
    }
    assert told["descriptors"] == [0, 1, 2, 3]
    assert (told["core"], told["processes"], told["modules"]) == ([0, 0], [0, 0], [])


def test_each_job_has_a_process_of_its_own_and_all_of_them_one_parent() -> None:
    first, second = do("process"), do("process")
    assert first["pid"] != second["pid"]
    assert first["parent"] == second["parent"]


def test_it_leaves_no_process_and_no_descriptor(eventually: Eventually) -> None:
    server = psutil.Process(do("process")["parent"])
    before = len(os.listdir("/proc/self/fd"))
    for what in ("process", "exit_early", "die"):
        for _ in range(5):
            with suppress(JobFailed):
                do(what, signal=signal.SIGSEGV)
    assert len(os.listdir("/proc/self/fd")) == before
    # The server's own descriptors: the three standard ones, its socket, and the pair that wakes it.
    eventually(lambda: server.children() == [] and server.num_fds() == 6)


def test_what_a_job_has_started_ends_with_it(eventually: Eventually) -> None:
    """A job's limits keep it from starting processes, except where the server runs as root or the job needs threads."""
    server = psutil.Process(do("process")["parent"])
    threaded = Job(
        "edgechat.tests.sandbox_job", limit=JobLimit(1, per_user=1), memory=256 * 1024**2, max_bytes=100, threads=True
    )
    left = threaded.run({"do": "leave_others"}, seconds=LONG)[0]["pids"]
    assert len(left) == 2
    eventually(lambda: not [pid for pid in left if psutil.pid_exists(pid)])
    eventually(lambda: server.children() == [])


@pytest.mark.parametrize("what", ["hold_the_interpreter", "ignore_the_clock", "close_and_go_on"])
def test_what_does_not_end_is_killed_at_its_deadline(what: str, eventually: Eventually) -> None:
    server = psutil.Process(do("process")["parent"])
    with pytest.raises(OutOfTime):
        do(what, seconds=0.5)
    eventually(lambda: server.children() == [])


@pytest.mark.parametrize(
    ("what", "arguments"),
    [
        ("die", {"signal": signal.SIGKILL}),
        ("die", {"signal": signal.SIGSEGV}),
        ("exit_early", {}),
        ("raise_in_depth", {}),
        ("take_memory", {"bytes": 300 * 1024**2}),
        ("write_a_file", {"path": "/tmp/edgechat-test-never-there"}),
        ("no_such_thing", {}),
    ],
)
def test_its_death_or_fault_costs_one_job(what: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(JobFailed):
        do(what, **arguments)
    assert do("take_memory", bytes=100 * 1024**2) == {"bytes": 100 * 1024**2}


def test_it_can_not_start_processes_and_threads_only_where_it_needs_them() -> None:
    assert do("begin_as_nobody") == {"process": False, "thread": False}
    threaded = Job(
        "edgechat.tests.sandbox_job", limit=JobLimit(1, per_user=1), memory=256 * 1024**2, max_bytes=100, threads=True
    )
    assert threaded.run({"do": "begin_as_nobody"}, seconds=LONG)[0]["thread"]


@pytest.mark.parametrize(
    "said",
    [
        {"hex": ""},
        {"hex": b"\x80\x04N.".hex()},
        {"hex": b"[]".hex()},
        {"hex": b"{}".hex()},
        {"hex": b'{"sizes": 5, "result": {}}'.hex()},
        {"hex": b'{"sizes": [-1], "result": {}}'.hex()},
        {"hex": b'{"sizes": [true], "result": {}}'.hex()},
        {"hex": b'{"sizes": [1e999], "result": {}}'.hex()},
        {"hex": b'{"sizes": [99999999999], "result": {}}'.hex()},
        {"hex": b'{"sizes": [20000000, 20000000], "result": {}}'.hex()},
        {"hex": b'{"sizes": [], "result": 5}'.hex()},
        {"hex": b'{"sizes": [10], "result": {}}'.hex()},
        {"hex": b"[".hex(), "length": 60_000, "times": 60_000},
        {"hex": b"1".hex(), "length": 60_000, "times": 60_000},
        {"hex": b"x".hex(), "length": 2**32 - 1, "times": 10_000_000},
    ],
)
def test_whatever_it_says_is_a_failure_and_not_ours(said: dict[str, Any]) -> None:
    with pytest.raises(JobFailed):
        do("say", **said)


def test_when_the_fork_server_dies_the_next_job_has_another(eventually: Eventually) -> None:
    first = do("process")["parent"]
    os.kill(first, signal.SIGKILL)
    eventually(lambda: jobs._server is None or not jobs._server.lives())
    second = do("process")["parent"]
    assert second != first
    assert not psutil.pid_exists(first)


def test_where_no_process_can_be_started_the_answer_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_server", None)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StoreUnavailable):
        do("process")
    monkeypatch.setattr(sys, "executable", "/no/such/file")
    monkeypatch.setattr(jobs, "_server", None)
    with pytest.raises(StoreUnavailable):
        do("process")


# --- JobLimit --------------------------------------------------------------------------------------------------------


def test_one_user_has_some_of_the_permits_and_the_others_the_rest() -> None:
    limit = JobLimit(3, per_user=2)

    def hold(user: int, count: int, then: Callable[[], None]) -> None:
        if not count:
            then()
            return
        with working_for(user), limit.permit(0):
            hold(user, count - 1, then)

    def third_of_alice() -> None:
        with pytest.raises(NotStarted), working_for(1), limit.permit(0):
            pass
        hold(2, 1, everybody)

    def everybody() -> None:
        with pytest.raises(NotStarted), working_for(3), limit.permit(0):
            pass

    hold(1, 2, third_of_alice)
    # Afterwards all permits are free again.
    hold(3, 2, lambda: hold(4, 1, lambda: None))


def test_a_free_place_is_for_who_has_the_fewest() -> None:
    limit = JobLimit(2, per_user=2)
    came: list[int] = []
    let_go = [threading.Event() for _ in range(4)]

    def take(number: int, user: int) -> None:
        with working_for(user), limit.permit(LONG):
            came.append(number)
            let_go[number].wait(LONG)

    threads = []
    for number, user in enumerate((1, 1, 1, 2)):
        threads.append(threading.Thread(target=take, args=(number, user)))
        threads[-1].start()
        while number < 2 and len(came) <= number:
            time.sleep(0.01)
        while number >= 2 and len(limit._waiting) < number - 1:
            time.sleep(0.01)
    let_go[0].set()
    while len(came) < 3:
        time.sleep(0.01)
    assert came == [0, 1, 3]
    for event in let_go:
        event.set()
    for thread in threads:
        thread.join(LONG)
    assert came == [0, 1, 3, 2]


def test_what_waits_gives_up_at_its_deadline_and_keeps_nobody_out() -> None:
    limit = JobLimit(1, per_user=1)
    with limit.permit(0):
        for _ in range(3):
            with pytest.raises(NotStarted):
                with limit.permit(0.05):
                    pass
    with limit.permit(0):
        pass


def test_many_at_once_are_done_one_after_the_other() -> None:
    few = Job("edgechat.tests.sandbox_job", limit=JobLimit(2, per_user=2), memory=64 * 1024**2, max_bytes=1000)
    told = at_once(20, lambda number: few.run({"do": "echo", "number": number}, seconds=LONG)[0]["number"])
    assert told == list(range(20))


# --- Under gevent, and when the web process dies ---------------------------------------------------------------------

UNDER_GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import os, sys, time
import gevent
from django.conf import settings
settings.configure()
from edgechat.sandbox.jobs import Job, start_fork_server
from edgechat.sandbox.job_limit import JobLimit, OutOfTime

job = Job("edgechat.tests.sandbox_job", limit=JobLimit(8, per_user=8), memory=2**28, max_bytes=2**24)
job.run({"do": "process"}, seconds=120)
start_fork_server()
server = job.run({"do": "process"}, seconds=120)[0]["parent"]
longest = 0.0
def watch():
    global longest
    last = time.monotonic()
    while True:
        gevent.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
gevent.spawn(watch)
def hold():
    try:
        job.run({"do": "hold_the_interpreter"}, seconds=float(sys.argv[1]))
    except OutOfTime:
        return "out of time"
held = [gevent.spawn(hold) for _ in range(4)]
child = os.fork()
if child == 0:
    print(job.run({"do": "process"}, seconds=120)[0]["parent"] == server, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(server, flush=True)
gevent.joinall(held)
print({one.value for one in held}, longest < 2)
"""


def under_gevent(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UNDER_GEVENT, str(seconds)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def test_under_gevent_others_have_their_turn_and_a_forked_worker_shares_the_fork_server() -> None:
    with under_gevent(2) as process:
        assert process.stdout is not None
        printed = process.stdout.read().splitlines()
    assert (printed[0], printed[2]) == ("True", "{'out of time'} True")


def test_when_the_web_process_is_killed_its_jobs_and_its_fork_server_end(eventually: Eventually) -> None:
    with under_gevent(600) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        server = psutil.Process(int(process.stdout.readline()))
        eventually(lambda: len(server.children()) == 4)
        ended = [server, *server.children()]
        process.kill()
    eventually(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in ended))


def has_a_memory_limit(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.rlimit(psutil.RLIMIT_AS)[0] != psutil.RLIM_INFINITY and process.status() != "zombie")
    return False


def test_when_the_fork_server_is_killed_its_children_end(eventually: Eventually) -> None:
    server = psutil.Process(do("process")["parent"])
    of_others = server.children()
    failures: list[Exception] = []

    def hold() -> None:
        try:
            do("ignore_the_clock")
        except JobFailed as error:
            failures.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    # The job has started; before that, another fork server would be asked.
    (child,) = eventually(
        lambda: [one for one in server.children() if one not in of_others and has_a_memory_limit(one)]
    )
    server.kill()
    thread.join(LONG)
    assert len(failures) == 1
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_nothing_that_reads_other_peoples_bytes_is_loaded_in_a_web_process() -> None:
    code = (
        "import sys, django; django.setup(); import edgechat.wsgi;"
        "print([name for name in ('trafilatura', 'lxml', 'pypdf', 'pillow_heif') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
