"""manage.py prune_usage, in a separate database: other tests need their old rows."""

from __future__ import annotations

import io
import re
import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from accounts.tests.staff import make_user
from usage.management.commands import prune_usage
from usage.models import HourlyUsage, LedgerEntry, RecorderPosition, RequestRecord
from usage.requests.services import delete_old_requests

pytestmark = pytest.mark.usefixtures("module_stores")


def _record(user: User, *ages_in_days: float) -> None:
    now = timezone.now()
    RequestRecord.objects.bulk_create(
        [
            RequestRecord(user=user, at=now - timedelta(days=age), method="GET", route="r", status=200, milliseconds=1)
            for age in ages_in_days
        ]
    )


def _ages(user: User) -> list[int]:
    rows = RequestRecord.objects.filter(user=user).values_list("at", flat=True)
    return sorted(round((timezone.now() - at).total_seconds() / 86400) for at in rows)


def _prune(*options: str) -> str:
    out = io.StringIO()
    call_command("prune_usage", *options, stdout=out)
    return out.getvalue()


def test_records_older_than_usage_raw_days_go_and_sums_stay() -> None:
    user, days = make_user(), settings.USAGE_RAW_DAYS
    _record(user, 0, 9, days + 1, days + 1000)
    old = timezone.now() - timedelta(days=days + 1000)
    HourlyUsage.objects.create(user=user, hour=old, requests=1)
    LedgerEntry.objects.create(
        attempt_id=uuid.uuid4().hex, user=user, purpose="chat", model="m", abandoned_after=old, settled_at=old
    )
    assert re.match(rf"Deleted \d+ request records that were older than {days} days\.\n", _prune())
    assert _ages(user) == [0, 9]
    assert HourlyUsage.objects.filter(user=user).count() == 1
    assert LedgerEntry.objects.filter(user=user).count() == 1
    assert _prune().startswith("Deleted ")  # again, with none of this test's rows left
    assert _ages(user) == [0, 9]


def test_it_is_noted_since_when_records_are_whole() -> None:
    ten_days_ago = timezone.now() - timedelta(days=10)
    _prune("--days", "10")
    noted = RecorderPosition.objects.get().raw_since
    assert noted is not None
    assert noted >= ten_days_ago
    _prune("--days", "20")
    later = RecorderPosition.objects.get().raw_since
    assert later is not None
    assert later >= noted


def test_a_dry_run_notes_nothing() -> None:
    before = RecorderPosition.objects.get().raw_since
    _prune("--days", "1", "--dry-run")
    after = RecorderPosition.objects.get().raw_since
    assert after == before or (after is not None and after < timezone.now() - timedelta(days=9))


def test_days_can_be_chosen() -> None:
    user = make_user()
    _record(user, 1, 9, 11)
    _prune("--days", "10")
    assert _ages(user) == [1, 9]


def test_a_dry_run_counts_and_deletes_nothing() -> None:
    user = make_user()
    _record(user, 1, 3, 4)  # too young for the other tests
    counted = re.match(r"(\d+) request records are older than 2 days\.\n", _prune("--days", "2", "--dry-run"))
    assert counted
    assert int(counted[1]) >= 2
    assert _ages(user) == [1, 3, 4]


def test_it_deletes_in_batches_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user()
    _record(user, *[200] * 7)
    before = timezone.now() - timedelta(days=150)
    sizes = list(delete_old_requests(before=before, batch=2))
    assert _ages(user) == []
    assert max(sizes) <= 2
    monkeypatch.setattr(prune_usage, "PRINT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(prune_usage, "delete_old_requests", lambda **_: iter([5000, 5000, 1]))
    assert _prune().splitlines()[:-1] == [
        "5000 so far",
        "10000 so far",
        "10001 so far",
        f"Deleted 10001 request records that were older than {settings.USAGE_RAW_DAYS} days.",
    ]


@pytest.mark.parametrize("days", ["0", "-1", "1000000"])
def test_days_have_bounds(days: str) -> None:
    with pytest.raises(CommandError, match="--days must be from 1 to 36500"):
        _prune("--days", days)
