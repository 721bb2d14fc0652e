"""Uploads, and how those of large photos affect concurrent streams."""

from __future__ import annotations

import io
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from bench.scenarios import Measured, Scenario, Target, delays_of_deltas
from bench.site import UPLOAD_END, Site

UPLOADS = 100
STREAMS = 50
PHOTOS = 10  # different photos; each user's own are stored again
PHOTO_BYTES = 8_000_000


class Uploads(Scenario):
    name = "upload"
    title = "POST /chat/attachments, a picture of 640 x 480, 4 clients"
    unit = "req/s"

    def prepare(self, site: Site) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name, "picture.part")
        file = io.BytesIO()
        Image.effect_noise((640, 480), 30).convert("RGB").save(file, "JPEG", quality=70)
        self._path.write_bytes(file.getvalue() + UPLOAD_END)

    def measure(self, site: Site) -> Measured:
        size = self._path.stat().st_size
        requests = [site.upload_request(person=site.person(number), size=size) for number in range(8)]
        load = site.load(requests, connections=4, seconds=site.seconds, expect=201, attached=[self._path])
        return Measured(load.result.rate, load)


class DeltaDelayWithUploads(Scenario):
    """The streams last about as long as the uploads. The memory is that of the web processes while both run."""

    name = "delta-delay-uploads"
    title = f"delay of a delta, {STREAMS} streams beside {UPLOADS} uploads of 8 MB"
    unit = "ms"
    target = Target(100)

    def prepare(self, site: Site) -> None:
        self._conversations = site.new_conversations(STREAMS)
        self._folder = tempfile.TemporaryDirectory()
        self._photos = [Path(self._folder.name, f"{number}.part") for number in range(PHOTOS)]
        for path in self._photos:
            path.write_bytes(_photo() + UPLOAD_END)

    def measure(self, site: Site) -> Measured:
        sizes = [path.stat().st_size for path in self._photos]
        requests = [
            site.upload_request(person=site.person(number // PHOTOS), size=sizes[number % PHOTOS])
            for number in range(UPLOADS)
        ]
        with ThreadPoolExecutor(1) as pool:
            streams = pool.submit(delays_of_deltas, site, self._conversations, chunks=100)
            load = site.load(requests, connections=UPLOADS, expect=201, attached=self._photos)
            return Measured(statistics.median(streams.result()), load)


def _photo() -> bytes:
    """A JPEG of 12 megapixels with noise, padded to the measured size."""
    bands = [Image.effect_noise((4000, 3000), 30) for _ in range(3)]
    file = io.BytesIO()
    Image.merge("RGB", bands).save(file, "JPEG", quality=70)
    data = file.getvalue()
    if len(data) > PHOTO_BYTES:
        raise ValueError(f"The photo has {len(data)} bytes.")
    return data + b"\0" * (PHOTO_BYTES - len(data))
