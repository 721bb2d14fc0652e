"""manage.py prune_sessions.

Tests share the tables and run at the same time. So each test reads only its own user's rows, and no test deletes rows
that are less than 30 days old.
"""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.lifecycle import pruning
from accounts.models import Session, TokenPair, User
from accounts.tests.staff import make_user
from conftest import Person


def _session(user: User, name: str, *, expires: float, ended: float | None = None) -> Session:
    """A session with one token pair. Times are in days from now."""
    now = timezone.now()
    session = Session.objects.create(
        user=user,
        device_name=name,
        expires_at=now + timedelta(days=expires),
        ended_at=None if ended is None else now + timedelta(days=ended),
    )
    TokenPair.objects.create(session=session, generation=0, issued_at=now)
    return session


def _names(user: User) -> list[str]:
    return sorted(Session.objects.filter(user=user).values_list("device_name", flat=True))


def _prune(*options: str) -> str:
    out = io.StringIO()
    call_command("prune_sessions", *options, stdout=out)
    return out.getvalue()


def test_sessions_that_ended_or_expired_long_ago_go_with_their_pairs() -> None:
    user = make_user()
    _session(user, "live", expires=5)
    _session(user, "ended lately", expires=5, ended=-29)
    _session(user, "expired lately", expires=-29)
    gone = [_session(user, "ended", expires=5, ended=-31).pk, _session(user, "expired", expires=-31).pk]
    told = r"Deleted \d+ sessions, \d+ replaced token pairs and \d+ API keys older than 30 days\.\n"
    assert re.fullmatch(told, _prune())
    assert _names(user) == ["ended lately", "expired lately", "live"]
    assert not TokenPair.objects.filter(session_id__in=gone).exists()
    assert TokenPair.objects.filter(session__user=user).count() == 3
    assert re.fullmatch(told, _prune())
    assert _names(user) == ["ended lately", "expired lately", "live"]


def test_replaced_pairs_of_a_live_session_go_and_the_newest_stays() -> None:
    session = _session(make_user(), "long lived", expires=5)
    old = timezone.now() - timedelta(days=40)
    TokenPair.objects.create(session=session, generation=1, issued_at=old)
    TokenPair.objects.create(session=session, generation=2, issued_at=old)
    Session.objects.filter(pk=session.pk).update(generation=2)
    _prune()
    assert list(session.token_pairs.order_by("generation").values_list("generation", flat=True)) == [0, 2]


def test_who_is_logged_in_stays_so(alice: Person) -> None:
    _prune()
    assert alice.get("auth/me").status_code == 200
    answer = alice.post("auth/refresh", json={"refresh_token": alice.tokens["refresh_token"]})
    assert answer.status_code == 200


def test_a_dry_run_counts_and_deletes_nothing() -> None:
    user = make_user()
    _session(user, "ended", expires=5, ended=-20)  # too recent for the tests that delete
    session = _session(user, "live", expires=5)
    TokenPair.objects.filter(session=session).update(issued_at=timezone.now() - timedelta(days=20))
    TokenPair.objects.create(session=session, generation=1, issued_at=timezone.now())
    Session.objects.filter(pk=session.pk).update(generation=1)
    told = r"(\d+) sessions, (\d+) replaced token pairs and \d+ API keys are older than 15 days\.\n"
    counted = re.fullmatch(told, _prune("--days", "15", "--dry-run"))
    assert counted
    assert int(counted[1]) >= 1
    assert int(counted[2]) >= 1
    assert _names(user) == ["ended", "live"]
    assert TokenPair.objects.filter(session__user=user).count() == 3


def test_it_deletes_in_batches() -> None:
    user = make_user()
    for number in range(5):
        session = _session(user, f"expired {number}", expires=-50)
    before = timezone.now() - timedelta(days=40)
    assert max(pruning.delete_old_sessions(before=before, batch=2)) <= 2
    assert _names(user) == []
    session = _session(user, "live", expires=5)
    old = timezone.now() - timedelta(days=50)
    TokenPair.objects.bulk_create(
        [TokenPair(session=session, generation=number, issued_at=old) for number in range(1, 6)]
    )
    Session.objects.filter(pk=session.pk).update(generation=6)
    assert max(pruning.delete_old_token_pairs(before=before, batch=2)) <= 2
    assert session.token_pairs.count() == 1


@pytest.mark.parametrize("days", ["0", "1", "1000000"])
def test_days_have_bounds(days: str) -> None:
    with pytest.raises(CommandError, match="--days must be from 2 to 36500"):
        _prune("--days", days)
