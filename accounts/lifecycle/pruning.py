"""Deletes sessions and API keys that are no longer usable, and old rows of the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import ApiKey, AuditEvent, Session, TokenPair

BATCH = 1000
# How long rows are kept. With less than two days, a pair could be deleted that a client may still ask for
# (accounts.login.sessions).
SESSION_DAYS, LEAST_SESSION_DAYS = 30, 2
AUDIT_DAYS = 365


def prune_sessions() -> Iterator[int]:
    """Delete old sessions, token pairs and API keys, in batches; yields their sizes."""
    before = timezone.now() - timedelta(days=SESSION_DAYS)
    yield from delete_old_token_pairs(before=before)
    yield from delete_old_sessions(before=before)
    yield from delete_old_api_keys(before=before)


def prune_audit_log() -> Iterator[int]:
    """Delete old rows of the audit log, in batches; yields their sizes."""
    yield from delete_old_events(before=timezone.now() - timedelta(days=AUDIT_DAYS))


def old_sessions(*, before: datetime) -> QuerySet[Session]:
    """Sessions that ended or expired before this time."""
    return Session.objects.filter(Q(ended_at__lt=before) | Q(expires_at__lt=before)).order_by()


def old_token_pairs(*, before: datetime) -> QuerySet[TokenPair]:
    """Replaced token pairs, issued before this time.

    The row of a pair changes nothing after a day: a client with the previous pair counts as a thief with or without it.
    """
    return TokenPair.objects.filter(issued_at__lt=before, generation__lt=F("session__generation")).order_by()


def delete_old_sessions(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete old sessions with their token pairs, one transaction per batch.

    Yields the number of sessions in each batch. A session may have thousands of pairs: delete the old ones first.
    """
    while True:
        with transaction.atomic():
            chosen = old_sessions(before=before).select_for_update(skip_locked=True)
            ids = list(chosen.values_list("pk", flat=True)[:batch])
            TokenPair.objects.filter(session__in=ids).delete()
            Session.objects.filter(pk__in=ids).delete()
        if not ids:
            return
        yield len(ids)


def delete_old_token_pairs(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete old token pairs in batches. Yields the size of each batch."""
    while ids := list(old_token_pairs(before=before).values_list("pk", flat=True)[:batch]):
        TokenPair.objects.filter(pk__in=ids).delete()
        yield len(ids)


def old_api_keys(*, before: datetime) -> QuerySet[ApiKey]:
    """API keys that were ended or expired before this time."""
    return ApiKey.objects.filter(Q(ended_at__lt=before) | Q(expires_at__lt=before)).order_by()


def delete_old_api_keys(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete old API keys in batches. Yields the size of each batch."""
    while ids := list(old_api_keys(before=before).values_list("pk", flat=True)[:batch]):
        ApiKey.objects.filter(pk__in=ids).delete()
        yield len(ids)


def old_events(*, before: datetime) -> QuerySet[AuditEvent]:
    """Rows of the audit log from before this time."""
    return AuditEvent.objects.filter(created_at__lt=before).order_by("created_at")


def delete_old_events(*, before: datetime, batch: int = BATCH) -> Iterator[int]:
    """Delete old rows of the audit log in batches, oldest first. Yields the size of each batch."""
    while ids := list(old_events(before=before).values_list("pk", flat=True)[:batch]):
        AuditEvent.objects.filter(pk__in=ids).delete()
        yield len(ids)
