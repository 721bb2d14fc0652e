"""manage.py prune_audit, in a separate database: other tests need their old rows."""

from __future__ import annotations

import io
import random
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.lifecycle import pruning
from accounts.models import AuditEvent

pytestmark = pytest.mark.usefixtures("module_stores")


def _events(*ages: float) -> int:
    """The id of a user with one row per age in days. `details` has the age."""
    user_id = random.SystemRandom().randrange(2**40, 2**60)
    for age in ages:
        event = AuditEvent.objects.create(event=AuditEvent.Event.LOGIN, user_id=user_id, details={"age": age})
        AuditEvent.objects.filter(pk=event.pk).update(created_at=timezone.now() - timedelta(days=age))
    return user_id


def _ages(user_id: int) -> list[float]:
    return [event.details["age"] for event in AuditEvent.objects.filter(user_id=user_id).order_by("created_at")]


def _prune(*options: str) -> str:
    out = io.StringIO()
    call_command("prune_audit", *options, stdout=out)
    return out.getvalue()


def test_rows_older_than_a_year_go() -> None:
    user_id = _events(400, 366, 364, 0)
    told = r"Deleted \d+ audit events older than 365 days\.\n"
    assert re.fullmatch(told, _prune())
    assert _ages(user_id) == [364, 0]
    assert re.fullmatch(told, _prune())
    assert _ages(user_id) == [364, 0]


def test_days_can_be_chosen() -> None:
    user_id = _events(3000, 2001, 1999)
    assert _prune("--days", "2000").endswith("older than 2000 days.\n")
    assert _ages(user_id) == [1999]


def test_a_dry_run_counts_and_deletes_nothing() -> None:
    user_id = _events(20, 19)
    counted = re.fullmatch(r"(\d+) audit events are older than 15 days\.\n", _prune("--days", "15", "--dry-run"))
    assert counted
    assert int(counted[1]) >= 2
    assert _ages(user_id) == [20, 19]


def test_it_deletes_in_batches() -> None:
    user_id = _events(500, 501, 502, 503, 504)
    before = timezone.now() - timedelta(days=450)
    assert max(pruning.delete_old_events(before=before, batch=2), default=0) <= 2
    assert _ages(user_id) == []


@pytest.mark.parametrize("days", ["0", "-1", "1000000"])
def test_days_have_bounds(days: str) -> None:
    with pytest.raises(CommandError, match="--days must be from 1 to 36500"):
        _prune("--days", days)
