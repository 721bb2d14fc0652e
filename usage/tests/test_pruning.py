"""One web process at a time deletes what is no longer needed, at PRUNE_AT."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection
from django.utils import timezone

from accounts.lifecycle.pruning import prune_sessions
from accounts.models import AuditEvent, Session, TokenPair
from accounts.tests.staff import make_user
from conversations.attachments.services import delete_old_keys
from conversations.imports.services import prune_imports
from conversations.models import Attachment, Import, UploadKey
from edgechat.local.web import WebServer
from edgechat.tests.own_stores import OwnStores
from usage.models import Pruning, RequestRecord
from usage.pruning import last_due

Eventually = Callable[..., Any]
# Three batches.
OLD_EVENTS = 3000


def add_old_rows(count: int) -> None:
    old = timezone.now() - timedelta(days=400)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_auditevent (event, created_at, request_id, details)"
            " SELECT 'login', %s + number * interval '1 second', '', '{}' FROM generate_series(1, %s) AS number",
            [old, count],
        )
    user = make_user()
    Session.objects.create(user=user, device_name="old", expires_at=old)
    Session.objects.create(user=user, device_name="live", expires_at=timezone.now() + timedelta(days=1))
    for at in (old, timezone.now()):
        RequestRecord.objects.create(user=user, at=at, method="GET", route="x", status=200, milliseconds=1)
        picture = Attachment.objects.create(owner=user, width=1, height=1, bytes=1, sha256=uuid.uuid4().hex)
        Attachment.objects.filter(pk=picture.pk).update(created_at=at)


def add_old_file(folder: Path) -> Path:
    """A file of a picture that has no row."""
    name = uuid.uuid4().hex
    file = folder / "media" / "attachments" / name[:2] / name / "stored"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    os.utime(file, (0, 0))
    return file


def prune_at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M}"


def test_one_of_two_processes_prunes_and_the_other_goes_on_when_it_is_killed(
    own_stores: OwnStores, data_dir: Path, start_web: Callable[..., WebServer], eventually: Eventually
) -> None:
    add_old_rows(OLD_EVENTS)
    file = add_old_file(data_dir)
    before = timezone.now() - timedelta(days=2)
    Pruning.objects.create(finished_at=before)
    # The last batch waits for this lock, so that the process is killed in the middle.
    lock = psycopg.connect(own_stores.database_url)
    lock.execute(
        "SELECT FROM accounts_auditevent WHERE created_at < now() - interval '365 days'"
        " ORDER BY created_at DESC LIMIT 1 FOR UPDATE"
    )
    web = start_web(
        workers=2,
        **own_stores.env,
        DATA_DIR=str(data_dir),
        PRUNE_AT=prune_at(timezone.now() - timedelta(minutes=1)),
    )
    old = AuditEvent.objects.filter(created_at__lt=timezone.now() - timedelta(days=365))
    eventually(lambda: old.count() == 1000)
    holder = int(Pruning.objects.get().holder.split(":")[1])
    assert holder in web.pids
    os.kill(holder, signal.SIGKILL)
    lock.close()
    eventually(lambda: Pruning.objects.get().finished_at > before)
    assert Pruning.objects.get().holder == ""
    assert old.count() == 0
    assert list(Session.objects.values_list("device_name", flat=True)) == ["live"]
    assert RequestRecord.objects.count() == Attachment.objects.count() == 1
    assert not file.exists()
    # Each job was done once after the kill, and not by the other process too.
    log = web.log_text()
    assert [log.count(f"job={job}") for job in ("'audit log'", "'request records'", "pictures")] == [1, 1, 1]


def test_each_step_deletes_a_small_batch(own_stores: OwnStores) -> None:
    user, old = make_user(), timezone.now() - timedelta(days=60)
    session = Session.objects.create(user=user, expires_at=old, generation=2500)
    TokenPair.objects.bulk_create(
        [TokenPair(session=session, generation=number, issued_at=old) for number in range(2501)]
    )
    Import.objects.bulk_create([Import(owner=user, bytes=1, status=Import.Status.FINISHED) for _ in range(250)])
    Import.objects.update(created_at=old)
    UploadKey.objects.bulk_create([UploadKey(owner=user, key=str(number), created_at=old) for number in range(1100)])
    assert sorted(prune_sessions()) == [1, 500, 1000, 1000]
    assert sorted(prune_imports()) == [50, 100, 100]
    assert sorted(delete_old_keys()) == [100, 500, 500]
    assert not any(model.objects.exists() for model in (Session, TokenPair, Import, UploadKey))


def test_the_latest_time_to_prune_is_today_or_yesterday() -> None:
    now = datetime(2026, 3, 1, 3, 29, 59, tzinfo=UTC)
    assert last_due("03:30", now) == datetime(2026, 2, 28, 3, 30, tzinfo=UTC)
    assert last_due("03:30", now + timedelta(seconds=1)) == datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
    assert last_due("00:00", now) == datetime(2026, 3, 1, tzinfo=UTC)
