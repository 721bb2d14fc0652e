"""The cost of reading untrusted pages, and the effect of hostile pages on concurrent requests."""

from __future__ import annotations

import io
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import httpx2
import psutil
from PIL import Image

from ai.parsing import page
from ai.tests.hostile_pages import HTML, PDF, pdfs, runs, structures
from ai.tests.local_pages import LocalPagesServer
from ai.tests.sites import Site, Visit
from ai.tests.sites import http as http_answer
from bench.scenarios import Measured, Scenario, Target
from bench.site import UPLOAD_END
from bench.site import Site as BenchSite

_PARAGRAPH = "The lighthouse was built on the northern rock and has warned ships of the reef since then. " * 4
_ARTICLE = (
    "<!DOCTYPE html><html><head><title>The lighthouse</title><meta name=author content='A. Keeper'></head><body>"
    f"<nav>{'<a href=/x>Menu</a>' * 200}</nav><article><h1>The lighthouse</h1>{f'<p>{_PARAGRAPH}</p>' * 60}</article>"
    f"<footer>{'<a href=/y>More</a>' * 200}</footer></body></html>"
).encode()


def _median_ms(function: Callable[[], object], *, times: int = 30) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


class PageInProcess(Scenario):
    only_head = True
    name = "page-in-process"
    title = "an article of 35 kB read in the same process"
    unit = "ms"

    def prepare(self, site: BenchSite) -> None:
        page.prepare()
        self.measure(site)

    def measure(self, site: BenchSite) -> Measured:
        return Measured(_median_ms(lambda: page.run({"content_type": HTML}, _ARTICLE)))


class PageOverhead(Scenario):
    only_head = True
    name = "page-overhead"
    title = "what a process of its own adds to that"
    unit = "ms"
    target = Target(30)

    def prepare(self, site: BenchSite) -> None:
        page.prepare()
        self.measure(site)

    def measure(self, site: BenchSite) -> Measured:
        from ai.fetch_url.limits import Deadline
        from ai.fetch_url.text import read_text

        inside = _median_ms(lambda: page.run({"content_type": HTML}, _ARTICLE))
        outside = _median_ms(lambda: read_text(_ARTICLE, HTML, deadline=Deadline(60)))
        return Measured(outside - inside)


class HealthBesideOrdinaryPages(Scenario):
    """The machine's own effect on the next figure: 60 ordinary pages, 8 at a time, of four users."""

    only_head = True
    name = "page-stall-ordinary"
    title = "longest wait for /health beside 60 ordinary pages"
    unit = "ms"
    pages = 60

    def prepare(self, site: BenchSite) -> None:
        self._round = 0

    def measure(self, site: BenchSite) -> Measured:
        self._round += 1
        return Measured(_longest_wait(site, self.chosen(self._round)))

    def chosen(self, number: int) -> list[tuple[bytes, str]]:
        """The pages of a round, with their types."""
        return [(_ARTICLE, HTML)] * self.pages


class HealthBesideHostilePages(HealthBesideOrdinaryPages):
    """Each round takes other pages of the corpus that the tests use."""

    name = "page-stall"
    title = "longest wait for /health beside 60 hostile pages of up to 5 MB"
    target = Target(100)

    def chosen(self, number: int) -> list[tuple[bytes, str]]:
        choose = random.Random(number)
        some = list(chain(runs(150_000), structures(150_000)))
        large = list(chain(islice(runs(5_000_000), number, None, 100), islice(structures(5_000_000), number, None, 10)))
        chosen = [(body, HTML) for _, body in choose.sample(some, self.pages * 2 // 3)]
        chosen += [(body, HTML) for _, body in choose.sample(large, self.pages // 6)]
        return chosen + [(body, PDF) for _, body in choose.sample(list(pdfs(1_000_000)), self.pages // 6)]


class PagesMemory(Scenario):
    """The last column shows gunicorn's master, two workers and the fork server, after they have read pictures."""

    name = "page-memory"
    title = "memory of the fork server (PSS), of all web processes' in the last column"
    unit = "MiB"

    def prepare(self, site: BenchSite) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._picture = Path(self._folder.name, "picture.part")
        file = io.BytesIO()
        Image.effect_noise((640, 480), 30).save(file, "PNG")
        self._picture.write_bytes(file.getvalue() + UPLOAD_END)

    def measure(self, site: BenchSite) -> Measured:
        size = self._picture.stat().st_size
        uploads = [site.upload_request(person=site.person(number), size=size) for number in range(8)]
        load = site.load(uploads, connections=4, expect=201, attached=[self._picture])
        server = [one for one in psutil.Process(site.master).children() if one.pid not in site.worker_pids]
        return Measured(sum(one.memory_full_info().pss for one in server) / 2**20, load)


def _longest_wait(site: BenchSite, pages: list[tuple[bytes, str]]) -> float:
    def answer(visit: Visit) -> None:
        visit.send(http_answer(*pages[int(visit.target[1:])]))

    folder = Path(tempfile.mkdtemp(prefix="edgechat-bench-"))
    local = Site(answer)
    web = LocalPagesServer(data_dir=folder, pages_port=local.port, seconds=3)
    try:
        web.start()
        watch = subprocess.Popen(
            [sys.executable, "-m", "bench.health_watch", web.address, "8"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        with watch, ThreadPoolExecutor(8) as pool, httpx2.Client(timeout=120, trust_env=False) as client:

            def summarize(number: int) -> None:
                token = site.person(number % 4).token
                client.post(
                    f"{web.url}/api/v1/ai/summarize",
                    json={"url": f"http://pages.example:{local.port}/{number}"},
                    headers={"Authorization": f"Bearer {token}"},
                )

            list(pool.map(summarize, range(len(pages))))
            printed, _ = watch.communicate()
        longest: list[float] = json.loads(printed)
        return max(longest)
    finally:
        web.stop()
        local.close()
        shutil.rmtree(folder, ignore_errors=True)
